"""What a sweep's events amount to: its state and the state of every trial, folded by one function.

Whoever needs to know how a sweep stands (the table, resume, budget, results, report, the loop itself) folds the same
events into the same state and asks it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from ...trainables.events import (
    CheckpointDamaged,
    Checkpointed,
    CheckpointSkipped,
    Continued,
    Evaluated,
    Event,
    Produced,
    Progress,
    Pulse,
    Report,
    StageComputed,
    StageReused,
    Waiting,
    WorkerLost,
)
from ...trainables.names import MetricName
from ...trainables.request import TrialRequest
from ...trainables.source_ref import SourceRef
from ..errors import UserError
from ..paths import SweepPaths
from .events import (
    BudgetSpent,
    Entry,
    Phase,
    SessionBegan,
    StudyRenewed,
    SweepEnded,
    TrialEnded,
    TrialExtended,
    TrialPlaced,
    TrialProposed,
    TrialRetried,
    TrialStopped,
    WarmStarted,
)
from .journal import MEND, read

MARKED = (
    Progress, Evaluated, StageComputed, StageReused, Produced, Checkpointed, CheckpointSkipped, CheckpointDamaged,
    WorkerLost,
)  # fmt: skip
"""What a worker says that is on record once; ``continued`` may come again with the same words and mean something new."""


class TrialStatus(StrEnum):
    """How a trial stands."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"

    @property
    def has_ended(self) -> bool:
        """Whether it came to an end, for good or not."""
        return self not in (TrialStatus.WAITING, TrialStatus.RUNNING)

    @property
    def is_resumable(self) -> bool:
        """Whether it only left because its sweep was interrupted: a resumed sweep goes on with it."""
        return self in (TrialStatus.CANCELLED, TrialStatus.PREEMPTED)

    @property
    def is_final(self) -> bool:
        """Whether it ended and no resume goes on with it."""
        return self.has_ended and not self.is_resumable

    @property
    def optuna(self) -> str:
        """The name of Optuna's state for it: what was pruned is censored, not finished, and what left still runs."""
        if not self.is_final:
            return "RUNNING"
        return {TrialStatus.FINISHED: "COMPLETE", TrialStatus.PRUNED: "PRUNED"}.get(self, "FAIL")

    @property
    def mlflow(self) -> str:
        """The name of MLflow's status for it. A pruned trial is KILLED: its last value was reached with less training."""
        if not self.has_ended:
            return "RUNNING"
        if self is TrialStatus.FINISHED:
            return "FINISHED"
        return "KILLED" if self.is_resumable or self is TrialStatus.PRUNED else "FAILED"


WRONG_FORM = (LookupError, TypeError, ValueError, AttributeError)
"""What reading a record raises whose recorded sweep file is not of the form it should have."""
NOWHERE = SweepPaths(Path())


@dataclass
class TrialState:
    """All that is known of one trial.

    Attributes:
        status: ``waiting`` until it is placed and whenever it has lost its worker, ``running`` while it has one.
        request: what its worker is asked to do, as it stands now.
        through: its last stage, the one it is scored on.
        value: the leading objective when last reported, mean over seeds; None when never scored.
        history: at every report of the objective, the step and ``latest`` as it then was.
        latest: every metric of its last stage when last reported, by bare name, mean over seeds.
        values, excess: what it ended with, where the sweep has several objectives or constraints.
        confirms, rank: in phase ``confirm``, the search trial it repeats on the test seeds, and that trial's place.
        repeats: the trial of the same configuration that answered for it; nothing was run.
        stopped_by: the rule that stopped it early, and why.
        failure: the class of failure it ended with, if any.
        retries: times it was resumed after a failure.
        memory_failures: times it ran out of memory since a person last asked for it.
        reopened: whether it goes on though it had ended for good.
        activity: what it does now: the newest report, pulse, or wait for another trial.
        reports: entries of its reports; left out where the state is folded without them.
        placed, continued, stages, artifacts: the events of that kind.
        marks: hashes of what is on record, so that what is repeated after a crash is not doubled.
        started, ended: unix seconds.
    """

    trial: str
    phase: Phase = "search"
    number: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    configs: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    through: str = ""
    request: TrialRequest | None = None
    status: TrialStatus = TrialStatus.WAITING
    reason: str = ""
    value: float | None = None
    history: list[tuple[int, Mapping[str, float]]] = field(default_factory=list)
    latest: dict[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    excess: Mapping[str, float] = field(default_factory=dict)
    confirms: str | None = None
    rank: int | None = None
    repeats: str | None = None
    stopped_by: str | None = None
    failure: str | None = None
    retries: int = 0
    memory_failures: int = 0
    reopened: bool = False
    activity: Report | Pulse | Waiting | None = None
    reports: list[Entry] = field(default_factory=list)
    placed: list[TrialPlaced] = field(default_factory=list)
    continued: list[Continued] = field(default_factory=list)
    stages: list[StageComputed | StageReused] = field(default_factory=list)
    artifacts: list[Produced] = field(default_factory=list)
    marks: set[int] = field(default_factory=set)
    started: float = 0.0
    ended: float | None = None

    @property
    def progress_reports(self) -> list[Progress]:
        """Its training metrics, in order."""
        return [entry.event for entry in self.reports if isinstance(entry.event, Progress)]

    @property
    def evaluations(self) -> list[Evaluated]:
        """Its scores, in order."""
        return [entry.event for entry in self.reports if isinstance(entry.event, Evaluated)]

    def last_evaluation(self, metric: str) -> Evaluated | None:
        """Return the newest score of its last stage that has a metric (bare name).

        A metric of training is in no score: what was last reported of it then counts, with no episode.
        """
        reported: list[Progress | Evaluated] = [*self.progress_reports, *self.evaluations]
        said = [one for one in reported if one.stage == self.through and metric in one.metrics]
        if scores := [event for event in said if isinstance(event, Evaluated)]:
            return scores[-1]
        if not said:
            return None
        last, none = said[-1], [{} for _ in said[-1].seeds]
        return Evaluated(
            stage=last.stage, step=last.step, steps=last.steps, seeds=last.seeds, metrics=last.metrics, episodes=none,
            episodes_spent=0, cpu_s=0.0,
        )  # fmt: skip

    @property
    def episodes_spent(self) -> int:
        """Evaluation episodes played; what a repeat shows was spent by the trial it repeats."""
        return 0 if self.repeats else sum(event.episodes_spent for event in self.evaluations)

    @property
    def cpu_s(self) -> float:
        """Process time this trial took, shared stages included where it computed them."""
        names = {entry.event.stage for entry in self.reports} | {use.stage for use in self.stages}  # type: ignore[union-attr]
        return sum(self.stage_cpu_s(name) for name in names)

    def stage_cpu_s(self, stage: str) -> float:
        """Return the process time this trial spent on one stage."""
        events = [] if self.repeats else [entry.event for entry in self.reports]
        reported = sum(e.cpu_s for e in events if isinstance(e, Report) and e.stage == stage)
        # The figure at publishing includes the reports before it, but only those since the last restart.
        uses = [use for use in self.stages if isinstance(use, StageComputed) and use.stage == stage]
        return max(reported, sum(use.cpu_s for use in uses))

    @property
    def saved_cpu_s(self) -> float:
        """Process time it did not take because stages were reused."""
        return sum(use.saved_cpu_s for use in self.stages if isinstance(use, StageReused))

    @property
    def progress(self) -> tuple[int, int]:
        """Step reached and steps wanted in its last stage; (0, 0) before its first report."""
        own = [e.event for e in self.reports if isinstance(e.event, Report) and e.event.stage == self.through]
        return (max(event.step for event in own), own[-1].steps) if own else (0, 0)

    def forget(self) -> None:
        """Drop what only a trial that may still report needs."""
        self.marks, self.activity = set(), None

    @property
    def done(self) -> float:
        """The share of its last stage's steps that is done, as far as it was told."""
        now = self.activity
        return now.step / now.steps if isinstance(now, Report | Pulse) and now.stage == self.through else 0.0


@dataclass
class SweepState:
    """All that is known of one sweep.

    Attributes:
        keep_reports: whether trials keep every report; without them the state takes a few kilobytes a trial.
        started: what the newest session began with.
        sessions: (from, to) in unix seconds, one for every start and resume; ``to`` is None while the last one
            runs or when it died.
        status: ``running`` until ``sweep_ended``; then its word.
        spent: the limits of the budget that the last session reached.
        counts: trials by phase and status.
        stages_computed, stages_reused, saved_cpu_s: of shared stage outputs.
        study: the newest edition of the study, and trials that lie outside its space.
        last_seq: of the entries folded.
        derived: what readers have worked out from it, each with the ``last_seq`` it holds for.
    """

    paths: SweepPaths = NOWHERE
    keep_reports: bool = True
    started: SessionBegan | None = None
    trials: dict[str, TrialState] = field(default_factory=dict)
    sessions: list[tuple[float, float | None]] = field(default_factory=list)
    status: str = "running"
    reason: str = ""
    spent: list[str] = field(default_factory=list)
    counts: Counter[tuple[str, TrialStatus]] = field(default_factory=Counter)
    stages_computed: int = 0
    stages_reused: int = 0
    saved_cpu_s: float = 0.0
    study: StudyRenewed | None = None
    warm_started: bool = False
    last_seq: int = -1
    derived: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls, entries: Iterable[Entry], paths: SweepPaths = NOWHERE, keep_reports: bool = True
    ) -> SweepState:
        """Return the state that entries in order amount to."""
        state = cls(paths, keep_reports)
        for entry in entries:
            state.apply(entry)
        return state

    def apply(self, entry: Entry) -> None:
        """Take the next entry in."""
        self.last_seq = max(self.last_seq, entry.seq)
        if entry.trial is None:
            _apply_to_sweep(self, entry.event, entry.time)
            return
        trial = self.trials.get(entry.trial)
        if trial is None:
            trial = self.trials[entry.trial] = TrialState(entry.trial)
            self.counts[trial.phase, trial.status] += 1
        before = trial.phase, trial.status
        _apply_to_trial(self, trial, entry)
        if before != (trial.phase, trial.status):
            self.counts[before] -= 1
            self.counts[trial.phase, trial.status] += 1

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.paths.name or (self.started.name if self.started else "")

    @property
    def spec(self) -> Mapping[str, Any]:
        """The sweep file as it was last run; empty before anything is on record."""
        return self.started.spec if self.started else {}

    @property
    def source(self) -> SourceRef:
        """What it learns from."""
        return SourceRef.among(self.spec)

    @property
    def source_facts(self) -> Mapping[str, Any]:
        """What was recorded of it when the sweep was last resumed: fingerprint, sizes, findings."""
        return self.started.source if self.started else {}

    @property
    def metric(self) -> MetricName:
        """The leading objective."""
        return MetricName(self.spec["objective"]["metric"])

    @property
    def direction(self) -> str:
        """``maximize`` or ``minimize``."""
        return self.spec["objective"]["direction"]

    def phase(self, phase: Phase) -> list[TrialState]:
        """Return the trials of a phase in the order they were proposed."""
        return [trial for trial in self.trials.values() if trial.phase == phase]

    def ended(self, phase: Phase) -> int:
        """Return how many trials of a phase have ended."""
        return sum(self.counts[phase, status] for status in TrialStatus if status.has_ended)


def read_sweep(paths: SweepPaths, keep_reports: bool = True) -> SweepState:
    """Return the state of a sweep on record.

    Raises:
        UserError: there is no such sweep, or its journal is damaged.
    """
    try:
        return SweepState.of(read(paths.journal), paths, keep_reports)
    except WRONG_FORM as error:
        raise UserError(
            f"the record is damaged: an event does not have its form ({type(error).__name__}: {error})",
            key=str(paths.journal),
            fix=MEND,
        ) from error


def mark(event: Event) -> int:
    """Return what tells an event of a trial from its others: the same work reports the same marks again."""
    values = event.__dict__
    told = (
        event.kind,
        values.get("stage"),
        values.get("step"),
        values.get("key"),
        values.get("path"),
        values.get("seed"),
        values.get("seeds"),  # a shared stage is trained one seed at a time, over the same steps
        values.get("reason"),  # an output that was damaged since is computed by the same trial again
    )
    return hash(told)


def _apply_to_sweep(state: SweepState, event: Event, time: float) -> None:
    match event:
        case SessionBegan():
            # An extended sweep brings its new plan; what began it stays on record in the journal.
            told = {name: getattr(event, name) for name in event.model_fields_set - {"kind", "despite"}}
            state.started = state.started.model_copy(update=told) if state.started else event
            state.status, state.reason = "running", ""
            state.sessions.append((time, None))
            state.spent.clear()
        case SweepEnded():
            state.status, state.reason = event.status, event.reason
            if state.sessions:
                state.sessions[-1] = (state.sessions[-1][0], time)
        case BudgetSpent():
            state.spent.append(f"{event.rule}: {event.reason}")
        case StudyRenewed():
            state.study = event
        case WarmStarted():
            state.warm_started = True


def _apply_to_trial(state: SweepState, trial: TrialState, entry: Entry) -> None:
    event = entry.event
    match event:
        case Progress() | Evaluated():
            _report(state, trial, entry)
        case TrialProposed():
            _propose(trial, event, entry.time)
        case TrialPlaced():
            trial.status, trial.ended, trial.stopped_by = TrialStatus.RUNNING, None, None
            trial.placed.append(event)
        case Pulse() | Waiting():
            trial.activity = event
            return
        case StageComputed():
            trial.stages.append(event)
            state.stages_computed += 1
        case StageReused():
            trial.stages.append(event)
            state.stages_reused += 1
            state.saved_cpu_s += event.saved_cpu_s
        case TrialRetried() | TrialExtended():
            _reopen(trial, event)
        case TrialStopped():
            trial.stopped_by = f"{event.rule}: {event.reason}"
        case Continued():
            trial.continued.append(event)
        case Produced():
            trial.artifacts.append(event)
        case TrialEnded():
            _end(state, trial, event, entry.time)
            return
    if isinstance(event, MARKED):
        trial.marks.add(mark(event))


def _propose(trial: TrialState, event: TrialProposed, time: float) -> None:
    trial.phase, trial.number, trial.params = event.phase, event.number, event.params
    trial.configs, trial.seeds, trial.through = event.configs, event.seeds, event.through
    trial.request, trial.confirms, trial.rank = event.request, event.confirms, event.rank
    trial.started = trial.started or time


def _report(state: SweepState, trial: TrialState, entry: Entry) -> None:
    event = entry.event
    assert isinstance(event, Report)
    trial.activity = event
    if state.keep_reports:
        trial.reports.append(entry)
    if event.stage != trial.through:
        return
    means = event.means()
    trial.latest |= means
    if state.spec and (value := means.get(state.metric.bare)) is not None:
        trial.value = value
        trial.history.append((event.step, dict(trial.latest)))


def _reopen(trial: TrialState, event: TrialRetried | TrialExtended) -> None:
    """Let its ending no longer count; what it measured does, unless it starts over."""
    trial.reopened = trial.reopened or trial.status.is_final
    trial.status, trial.reason, trial.ended, trial.failure = TrialStatus.WAITING, "", None, None
    trial.stopped_by = trial.activity = None
    if isinstance(event, TrialExtended):
        trial.configs, trial.request = event.configs or trial.configs, event.request or trial.request
        return
    trial.retries += 1
    trial.memory_failures = 0 if event.asked else trial.memory_failures + (event.failure == "out_of_memory")
    if trial.request:
        trial.request = trial.request.model_copy(update={"lanes": event.lanes})
    if event.afresh:
        trial.value, trial.reports, trial.history, trial.latest, trial.marks = None, [], [], {}, set()


def _end(state: SweepState, trial: TrialState, event: TrialEnded, time: float) -> None:
    trial.status, trial.reason, trial.ended = TrialStatus(event.status), event.reason, time
    trial.failure, trial.repeats, trial.reopened = event.failure, event.repeats, False
    trial.value = event.value if event.value is not None else trial.value
    trial.values, trial.excess = event.values, event.excess
    original = state.trials.get(event.repeats or "")
    if original is not None:  # what was measured once is shown for both, and was spent once
        trial.reports, trial.latest = list(original.reports), dict(original.latest)
