"""What a trial says while it goes through its stages: frozen, typed events, written as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


def mean_over_seeds(lanes: Sequence[float]) -> float:
    """Return the mean of one value per seed."""
    return sum(lanes) / len(lanes)


class Event(BaseModel):
    """Something that happened; ``kind`` tells the events of a journal apart."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields and the kind as plain values."""
        return self.model_dump()


class StageComputed(Event):
    """A stage's output was computed by this trial and published in the store."""

    kind: Literal["stage_computed"] = "stage_computed"
    stage: str
    key: str
    """Content address of the output."""
    seed: int
    steps: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    bytes: int = 0
    reason: str | None = None
    """Why, where it had been stored or claimed before: damage, or a holder that was lost."""


class StageReused(Event):
    """A stage's output was taken from the store."""

    kind: Literal["stage_reused"] = "stage_reused"
    stage: str
    key: str
    seed: int
    saved_cpu_s: float
    """Process time that computing it had cost."""


class Report(Event):
    """Base of the events that carry metrics: one value per seed, by bare name."""

    stage: str
    step: int
    steps: int
    """The last step of the stage."""
    seeds: tuple[int, ...]
    metrics: Mapping[str, Sequence[float]]
    cpu_s: float = 0.0
    """Process time since the last report, for all seeds together."""

    def means(self) -> dict[str, float]:
        """Return every metric averaged over the seeds."""
        return {name: mean_over_seeds(lanes) for name, lanes in self.metrics.items() if len(lanes)}

    def mean(self, metric: str) -> float:
        """Return one metric averaged over the seeds."""
        return mean_over_seeds(self.metrics[metric])


class Progress(Report):
    """Training metrics: means over the updates since the last report."""

    kind: Literal["progress"] = "progress"
    wall_s: float = 0.0
    """Elapsed time of those updates."""


class Evaluated(Report):
    """Scores of an evaluation: metrics, and what every episode gave."""

    kind: Literal["evaluated"] = "evaluated"
    episodes: Sequence[Mapping[str, Sequence[float]]] = ()
    """Per seed, values of every episode by name."""
    episodes_spent: int = 0


class Checkpointed(Event):
    """The state of a stage was stored."""

    kind: Literal["checkpoint"] = "checkpoint"
    stage: str
    step: int
    path: str
    """Relative to the trial's folder."""


class CheckpointSkipped(Event):
    """The state of a stage could not be stored, for want of room; the trial goes on without that checkpoint."""

    kind: Literal["checkpoint_skipped"] = "checkpoint_skipped"
    stage: str
    step: int
    reason: str


class CheckpointDamaged(Event):
    """A checkpoint was not what had been written; the stage resumed from the one before it."""

    kind: Literal["checkpoint_damaged"] = "checkpoint_damaged"
    stage: str
    step: int
    reason: str
    resumed_step: int
    """Where it resumed; 0 from the start."""


class Continued(Event):
    """A stage was resumed from a checkpoint, by this process."""

    kind: Literal["continued"] = "continued"
    stage: str
    step: int
    steps: int
    seeds: tuple[int, ...]


class Produced(Event):
    """A file or folder that a trial, or the sweep, leaves behind."""

    kind: Literal["artifact"] = "artifact"
    path: str
    """Relative to the trial's folder; in the journal, to the sweep's."""
    role: str
    """``policy``, ``media``, ``log``, ``config``, ``table`` or ``report``."""


class Pulse(Event):
    """Still working: shown while running, not recorded."""

    kind: Literal["pulse"] = "pulse"
    stage: str
    step: int
    steps: int


class Waiting(Event):
    """Another trial computes a stage that this one needs: shown while running, not recorded."""

    kind: Literal["waiting"] = "waiting"
    stage: str
    key: str
    holder: str


class WorkerLost(Event):
    """One of the workers of a stage was lost; its work resumes from a checkpoint."""

    kind: Literal["worker_lost"] = "worker_lost"
    stage: str
    step: int
    """Where it resumes."""
    reason: str


WorkerEvent = (
    StageComputed
    | StageReused
    | Progress
    | Evaluated
    | Checkpointed
    | CheckpointSkipped
    | CheckpointDamaged
    | Continued
    | Produced
    | Pulse
    | Waiting
    | WorkerLost
)
"""What the worker of a trial can say."""

_ADAPTER: TypeAdapter[WorkerEvent] = TypeAdapter(Annotated[WorkerEvent, Field(discriminator="kind")])


def event_of(values: Mapping[str, Any]) -> WorkerEvent:
    """Return the event that :meth:`Event.to_json` wrote.

    Raises:
        ValueError: the values are no event.
    """
    return _ADAPTER.validate_python(values)
