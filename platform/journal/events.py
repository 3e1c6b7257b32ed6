"""Everything that can happen to a sweep: one union of frozen, typed events.

What the workers of trials say is in :mod:`flowsweep.trainables.events`; the rest is here. The table of all of them in
docs/records.md is made from these classes (:func:`events_table`), and a test holds it equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from ...trainables.events import Event, Pulse, Waiting, WorkerEvent
from ...trainables.request import TrialRequest

Phase = Literal["search", "confirm", "baseline"]


class SessionBegan(Event):
    """Base of the events that open a session: where and with what it runs."""

    name: str = ""
    spec: Mapping[str, Any] = {}
    """The sweep file, with every default written out."""
    plan: Mapping[str, Any] = {}
    source: Mapping[str, Any] = {}
    """What it learns from: kind (dataset, environment, problem), name, fingerprint, sizes, findings."""
    code_version: str | None = None
    code: Mapping[str, Any] = {}
    """Digests of the code that decides what a trial computes."""
    flowsweep_version: str = ""
    host: str = ""
    device: str = ""
    versions: Mapping[str, str] = {}
    """Of Python and of the packages a result may depend on."""


class SweepStarted(SessionBegan):
    """The sweep began."""

    kind: Literal["sweep_started"] = "sweep_started"


class SweepResumed(SessionBegan):
    """The sweep goes on, with what holds from now on."""

    kind: Literal["sweep_resumed"] = "sweep_resumed"
    despite: tuple[str, ...] = ()
    """Changes of data or code that it goes on over."""


class SweepEnded(Event):
    """The sweep came to its end, or was interrupted."""

    kind: Literal["sweep_ended"] = "sweep_ended"
    status: str
    reason: str = ""


class TrialProposed(Event):
    """A trial was thought of; it waits for a worker."""

    kind: Literal["trial_proposed"] = "trial_proposed"
    phase: Phase = "search"
    number: int | None = None
    """Its place among the proposals of the search."""
    params: Mapping[str, Any] = {}
    configs: Mapping[str, Any] = {}
    seeds: tuple[int, ...] = ()
    through: str = ""
    """Its last stage."""
    request: TrialRequest | None = None
    """What a worker is asked to do."""
    confirms: str | None = None
    """In phase ``confirm``: the search trial it repeats on the test seeds."""
    rank: int | None = None
    """In phase ``confirm``: the place of that trial in the search."""
    repeats: str | None = None
    """The trial of the same configuration that answers for it; nothing is run."""


class TrialPlaced(Event):
    """A worker took the trial."""

    kind: Literal["trial_placed"] = "trial_placed"
    node: str = ""
    pid: int = 0
    device: str = ""


class TrialStopped(Event):
    """A rule stopped the trial before its end."""

    kind: Literal["trial_stopped"] = "trial_stopped"
    rule: str
    reason: str


class TrialRetried(Event):
    """The trial could not go on and waits for a worker again."""

    kind: Literal["trial_retried"] = "trial_retried"
    failure: str
    """The class of the failure."""
    reason: str = ""
    lanes: int | None = None
    """Seeds to train at once; null for all."""
    asked: bool = False
    """Whether a person asked for it."""
    afresh: bool = False
    """Whether it starts over, without its checkpoints."""


class TrialExtended(Event):
    """The trial goes on to a later end of its last stage."""

    kind: Literal["trial_extended"] = "trial_extended"
    stage: str
    previous_steps: int
    steps: int
    configs: Mapping[str, Any] = {}
    request: TrialRequest | None = None


class TrialEnded(Event):
    """The trial came to an end."""

    kind: Literal["trial_ended"] = "trial_ended"
    status: Literal["finished", "pruned", "diverged", "out_of_memory", "preempted", "failed", "cancelled"]
    reason: str = ""
    value: float | None = None
    """The leading objective, mean over seeds."""
    failure: str | None = None
    """The class of the failure, if it failed."""
    values: Mapping[str, float] = {}
    """Objectives by metric, where the sweep has several or constraints."""
    excess: Mapping[str, float] = {}
    """By constraint, how far beyond its limit; 0 or below where it is kept."""
    repeats: str | None = None
    """The trial of the same configuration that answered for it."""


class CapacityChanged(Event):
    """Another number of trials may run at once from now on."""

    kind: Literal["capacity_changed"] = "capacity_changed"
    trials: int
    fit: int
    """As many as would fit the cluster, were nothing else running there."""
    reason: str


class BudgetSpent(Event):
    """A limit of the budget was reached: no further trial starts."""

    kind: Literal["budget_spent"] = "budget_spent"
    rule: str
    reason: str


class SearchEnded(Event):
    """Nothing was left to propose, though fewer trials were tried than asked for."""

    kind: Literal["search_ended"] = "search_ended"
    reason: str


class WarmStarted(Event):
    """The search learns from earlier sweeps: by name, trials taken and left out, with reasons."""

    kind: Literal["warm_started"] = "warm_started"
    sweeps: tuple[Mapping[str, Any], ...]


class StudyRenewed(Event):
    """The search goes on in a new edition of its study."""

    kind: Literal["study_renewed"] = "study_renewed"
    study: str
    of: str
    reopened: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    """Trials that lie outside the space searched from now on."""


class StorageBehind(Event):
    """The study's storage cannot be written; what it lacks waits and follows."""

    kind: Literal["storage_behind"] = "storage_behind"
    reason: str


class CheckpointsDropped(Event):
    """Checkpoints were deleted to keep ``checkpoints.budget_gib``."""

    kind: Literal["checkpoints_dropped"] = "checkpoints_dropped"
    paths: tuple[str, ...]
    """Relative to the folder of trials."""
    bytes: int
    reason: str


class CheckpointsOverBudget(Event):
    """The checkpoints that must stay take more than ``checkpoints.budget_gib``."""

    kind: Literal["checkpoints_over_budget"] = "checkpoints_over_budget"
    bytes: int
    reason: str


class Recovered(Event):
    """A torn last line was removed when the journal was opened again."""

    kind: Literal["recovered"] = "recovered"
    dropped_bytes: int


class StopRequested(Event):
    """The sweep was asked to end: shown, not recorded."""

    kind: Literal["stop_requested"] = "stop_requested"
    hurried: bool = False
    """Whether there are only seconds left."""


class Left(Event):
    """The process ends now, whatever it was doing: shown, not recorded."""

    kind: Literal["left"] = "left"
    reason: str


class Warned(Event):
    """Something a person should know: shown, not recorded."""

    kind: Literal["warning"] = "warning"
    text: str


class Sending(Event):
    """The end waits for the tracker: shown, not recorded."""

    kind: Literal["sending"] = "sending"
    unsent: int


SWEEP_EVENTS = (
    SweepStarted, SweepResumed, SweepEnded, TrialProposed, TrialPlaced, TrialStopped, TrialRetried, TrialExtended,
    TrialEnded, CapacityChanged, BudgetSpent, SearchEnded, WarmStarted, StudyRenewed, StorageBehind,
    CheckpointsDropped, CheckpointsOverBudget, Recovered, StopRequested, Left, Warned, Sending,
)  # fmt: skip
EVENTS: Mapping[str, type[Event]] = {
    event.model_fields["kind"].default: event for event in (*SWEEP_EVENTS, *get_args(WorkerEvent))
}
"""Every event by its kind."""
UNRECORDED = (Pulse, Waiting, StopRequested, Left, Warned, Sending)
"""Shown while running; the journal does not keep them."""
AnyEvent = (
    WorkerEvent
    | SweepStarted
    | SweepResumed
    | SweepEnded
    | TrialProposed
    | TrialPlaced
    | TrialStopped
    | TrialRetried
    | TrialExtended
    | TrialEnded
    | CapacityChanged
    | BudgetSpent
    | SearchEnded
    | WarmStarted
    | StudyRenewed
    | StorageBehind
    | CheckpointsDropped
    | CheckpointsOverBudget
    | Recovered
    | StopRequested
    | Left
    | Warned
    | Sending
)


class Entry(BaseModel):
    """One line of a journal: an event, and when it happened to whom."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seq: int
    """Position in the sweep, from 0; -1 of what is not recorded."""
    time: float
    """Unix seconds at the writer."""
    trial: str | None = None
    """The trial concerned, if any."""
    event: Annotated[AnyEvent, Field(discriminator="kind")]


def events_table() -> str:
    """Return the table of recorded events for the documentation."""
    rows = ["| kind | what happened | fields |", "|---|---|---|"]
    for kind, event in EVENTS.items():
        if event in UNRECORDED:
            continue
        meaning = " ".join((event.__doc__ or "").split())
        rows.append(f"| `{kind}` | {meaning} | {', '.join(_fields(event))} |")
    return "\n".join(rows)


def _fields(event: type[Event]) -> list[str]:
    found = []
    for name, field in event.model_fields.items():
        if name != "kind":
            meaning = " ".join((field.description or "").split()).rstrip(".")
            found.append(f"`{name}`" + (f" ({meaning[0].lower()}{meaning[1:]})" if meaning else ""))
    return found
