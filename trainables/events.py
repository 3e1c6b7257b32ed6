"""What a trial says while it walks through its stages: plain, typed, JSON-ready facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Base: ``kind`` names the fact in the journal."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """The journal's form: the fields and the kind."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class StageComputed(Event):
    """A stage's output was computed by this trial and published under ``key``.

    ``reason`` says why, where it had been stored or claimed before: damage, or a holder that was lost.
    """

    kind: ClassVar[str] = "stage_computed"
    stage: str
    key: str
    seed: int
    steps: int
    cpu_s: float
    wall_s: float
    bytes: int
    reason: str | None = None


@dataclass(frozen=True)
class StageReused(Event):
    """A stage's output was taken from the store; ``saved_cpu_s`` is what computing it had cost."""

    kind: ClassVar[str] = "stage_reused"
    stage: str
    key: str
    seed: int
    saved_cpu_s: float


@dataclass(frozen=True)
class Progress(Event):
    """Training metrics, each a list with one mean per lane over the updates since the last report.

    ``cpu_s`` and ``wall_s`` are the process time and the elapsed time those updates took, for all lanes together.
    """

    kind: ClassVar[str] = "progress"
    stage: str
    step: int
    steps: int
    seeds: Sequence[int]
    metrics: Mapping[str, Sequence[float]]
    cpu_s: float
    wall_s: float = 0.0


@dataclass(frozen=True)
class Evaluated(Event):
    """Scores of an evaluation: metrics and per-episode values, a list with one entry per lane."""

    kind: ClassVar[str] = "evaluated"
    stage: str
    step: int
    steps: int
    seeds: Sequence[int]
    metrics: Mapping[str, Sequence[float]]
    episodes: Sequence[Mapping[str, Sequence[float]]]
    episodes_spent: int
    cpu_s: float


@dataclass(frozen=True)
class Checkpointed(Event):
    """The state of a stage was stored under ``path``, relative to the trial's folder."""

    kind: ClassVar[str] = "checkpoint"
    stage: str
    step: int
    path: str


@dataclass(frozen=True)
class CheckpointSkipped(Event):
    """The state of a stage could not be stored, for want of room; the trial goes on without that checkpoint."""

    kind: ClassVar[str] = "checkpoint_skipped"
    stage: str
    step: int
    reason: str


@dataclass(frozen=True)
class CheckpointDamaged(Event):
    """The checkpoint of ``step`` was not what had been written; the stage went on from ``resumed_step`` (0: anew)."""

    kind: ClassVar[str] = "checkpoint_damaged"
    stage: str
    step: int
    reason: str
    resumed_step: int


@dataclass(frozen=True)
class Continued(Event):
    """A stage was taken up again from the checkpoint at ``step``, by this process."""

    kind: ClassVar[str] = "continued"
    stage: str
    step: int
    steps: int
    seeds: Sequence[int]


@dataclass(frozen=True)
class Produced(Event):
    """A file or folder the trial leaves behind, ``path`` relative to the trial's folder.

    ``role`` is one of ``policy``, ``media``, ``log``.
    """

    kind: ClassVar[str] = "artifact"
    path: str
    role: str


@dataclass(frozen=True)
class Pulse(Event):
    """Still working: shown while running, not recorded."""

    kind: ClassVar[str] = "pulse"
    stage: str
    step: int
    steps: int


@dataclass(frozen=True)
class Waiting(Event):
    """Another trial is computing a stage this one needs."""

    kind: ClassVar[str] = "waiting"
    stage: str
    key: str
    holder: str


@dataclass(frozen=True)
class WorkerLost(Event):
    """One of the workers of a stage was lost; its work is taken up again from the checkpoint at ``step``."""

    kind: ClassVar[str] = "worker_lost"
    stage: str
    step: int
    reason: str
