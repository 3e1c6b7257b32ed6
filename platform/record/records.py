"""A sweep as its journal tells it: trials, what was measured, which stages were computed or reused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...trainables.source_ref import SourceRef
from ..errors import UserError
from ..paths import SweepPaths
from ..running.failures import class_of
from ..sweep.goals import Goals, is_feasible
from .journal import MEND, Fact, read
from .measurements import Measurement, StageUse

WRONG_FORM = (LookupError, TypeError, ValueError, AttributeError)
"""What reading facts raises that are JSON and yet not of the form they should have."""
WAITING, RUNNING = "waiting", "running"


@dataclass
class TrialRecord:
    """All that is known of one trial.

    Attributes:
        status: ``waiting`` until it is placed and whenever it has lost its place, ``running`` while it has one; then one
            of the words of ``trial_ended``.
        value: the objective at its last evaluation, mean over seeds; None when never scored.
        confirms: in phase ``confirm``, the search trial it repeats on the test seeds.
        through: its last stage.
        started, ended: unix seconds.
        placed: where it ran, newest last.
        artifacts: (role, path within the sweep's folder).
        decision: why it was stopped early, if it was.
        values: its objectives by metric, where the sweep has several objectives or constraints.
        excess: by constraint, how far it lies beyond the limit; 0 or below where it keeps it.
        repeats: the earlier trial of the same configuration that answered for it; nothing was run.
        failure: the class of failure it ended with, if any.
        retries: times it was taken up again after a failure.
        continued: (stage, step) of every checkpoint it was taken up again from.
    """

    trial: str
    number: int | None = None
    phase: str = "search"
    params: Mapping[str, Any] = field(default_factory=dict)
    configs: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    through: str = ""
    confirms: str | None = None
    status: str = WAITING
    reason: str = ""
    value: float | None = None
    started: float = 0.0
    ended: float | None = None
    placed: list[Mapping[str, Any]] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    stages: list[StageUse] = field(default_factory=list)
    artifacts: list[tuple[str, str]] = field(default_factory=list)
    decision: str | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    excess: Mapping[str, float] = field(default_factory=dict)
    repeats: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""
        return self.status in (WAITING, RUNNING)

    @property
    def feasible(self) -> bool:
        """Whether it keeps every limit of its sweep, as far as it came to an end."""
        return is_feasible(self.excess)

    failure: str | None = None
    retries: int = 0
    continued: list[tuple[str, int]] = field(default_factory=list)

    @property
    def evaluations(self) -> list[Measurement]:
        """Its scores, in order."""
        return [m for m in self.measurements if m.kind == "evaluated"]

    def last_evaluation(self, metric: str) -> Measurement | None:
        """The newest score of its last stage that has a metric (named without the stage)."""
        found = [m for m in self.evaluations if m.stage == self.through and metric in m.metrics]
        return found[-1] if found else None

    @property
    def episodes_spent(self) -> int:
        """Evaluation episodes played."""
        return sum(m.episodes_spent for m in self.measurements)

    @property
    def cpu_s(self) -> float:
        """Process time this trial took, shared stages included where it computed them."""
        names = {m.stage for m in self.measurements} | {use.stage for use in self.stages}
        return sum(self.stage_cpu_s(name) for name in names)

    def stage_cpu_s(self, stage: str) -> float:
        """Process time this trial spent on one stage."""
        reported = sum(m.cpu_s for m in self.measurements if m.stage == stage)
        # The figure at publishing includes the reports before it, but only those since the last restart.
        return max(reported, sum(use.cpu_s for use in self.stages if use.stage == stage))

    @property
    def saved_cpu_s(self) -> float:
        """Process time it did not take because stages were reused."""
        return sum(use.saved_cpu_s for use in self.stages)

    @property
    def progress(self) -> tuple[int, int]:
        """Step reached and steps wanted in its last stage; (0, 0) before its first report."""
        own = [m for m in self.measurements if m.stage == self.through]
        return (max(m.step for m in own), own[-1].steps) if own else (0, 0)


@dataclass
class SweepRecord:
    """All that is known of one sweep.

    Attributes:
        started: what ``sweep_started`` said; ``spec``, ``plan``, ``versions`` and so on, and what is learnt from under its
            kind (``dataset``, ``environment`` or ``problem``).
        sessions: (from, to) in unix seconds, one for every start and resume; ``to`` is None while the last one
            runs or when it died.
        status: ``running`` until ``sweep_ended``; then its word.
        decisions: that concern the whole sweep, such as a budget that was spent; of the last session.
        last_seq: of the facts read.
    """

    paths: SweepPaths
    started: Mapping[str, Any] = field(default_factory=dict)
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    sessions: list[tuple[float, float | None]] = field(default_factory=list)
    status: str = "running"
    reason: str = ""
    decisions: list[str] = field(default_factory=list)
    last_seq: int = -1

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.paths.name

    @property
    def metric(self) -> str:
        """The objective as ``stage/metric``."""
        return self.started["spec"]["objective"]["metric"]

    @property
    def direction(self) -> str:
        """``maximize`` or ``minimize``."""
        return self.started["spec"]["objective"]["direction"]

    @property
    def goals(self) -> Goals:
        """Its objectives and constraints."""
        return Goals.recorded(self.started["spec"])

    @property
    def source(self) -> SourceRef:
        """What it learns from."""
        return SourceRef.among(self.started["spec"])

    @property
    def source_facts(self) -> Mapping[str, Any]:
        """What was recorded of it when the sweep was last taken up: fingerprint, sizes, findings."""
        return self.started.get(self.source.kind) or {}

    def phase(self, phase: str) -> list[TrialRecord]:
        """The trials of a phase in the order they were proposed."""
        return [trial for trial in self.trials.values() if trial.phase == phase]


def read_sweep(paths: SweepPaths) -> SweepRecord:
    """Everything a sweep's journal says.

    Raises:
        UserError: there is no such sweep, or its journal is damaged.
    """
    try:
        return record_of(read(paths.journal), paths)
    except WRONG_FORM as error:
        raise UserError(
            f"the record is damaged: a fact does not have its form ({type(error).__name__}: {error})",
            key=str(paths.journal),
            fix=MEND,
        ) from error


def record_of(facts: Iterable[Fact], paths: SweepPaths) -> SweepRecord:
    """A record from facts in order."""
    record = SweepRecord(paths)
    for fact in facts:
        record.last_seq = fact.seq
        if fact.trial is None:
            _take_sweep(record, fact)
        else:
            _take_trial(record, record.trials.setdefault(fact.trial, TrialRecord(fact.trial)), fact)
    return record


def _take_sweep(record: SweepRecord, fact: Fact) -> None:
    if fact.kind == "sweep_started":
        record.started = fact.data
    elif fact.kind == "sweep_resumed":
        # An extended sweep brings its new plan; what began it stays on record in the journal.
        record.started = {**record.started, **fact.data}
        record.status, record.reason = "running", ""
    elif fact.kind == "decision":
        record.decisions.append(f"{fact.data['rule']}: {fact.data['reason']}")
    if fact.kind in ("sweep_started", "sweep_resumed"):
        record.sessions.append((fact.time, None))
        record.decisions.clear()
    elif fact.kind == "sweep_ended":
        record.status, record.reason = fact.data["status"], fact.data.get("reason") or ""
        if record.sessions:
            record.sessions[-1] = (record.sessions[-1][0], fact.time)


def _take_trial(record: SweepRecord, trial: TrialRecord, fact: Fact) -> None:
    data = fact.data
    if fact.kind == "trial_proposed":
        _propose(trial, fact)
    elif fact.kind == "trial_placed":
        trial.status, trial.ended, trial.decision = RUNNING, None, None
        trial.placed.append(data)
    elif fact.kind in ("progress", "evaluated"):
        trial.measurements.append(_measurement(fact))
        if fact.kind == "evaluated" and record.started:
            _score(record, trial, trial.measurements[-1])
    elif fact.kind == "stage_computed":
        costs = {name: data.get(name, 0) for name in ("cpu_s", "wall_s", "bytes")}
        trial.stages.append(StageUse(data["stage"], data["key"], data["seed"], False, **costs))
    elif fact.kind == "stage_reused":
        trial.stages.append(
            StageUse(data["stage"], data["key"], data["seed"], True, saved_cpu_s=data["saved_cpu_s"])
        )
    elif fact.kind in ("trial_retried", "trial_extended"):
        _reopen(trial, fact)
    elif fact.kind == "continued":
        trial.continued.append((data["stage"], data["step"]))
    elif fact.kind == "decision":
        trial.decision = f"{data['rule']}: {data['reason']}"
    elif fact.kind == "artifact":
        trial.artifacts.append((data["role"], data["path"]))
    elif fact.kind == "trial_ended":
        trial.status, trial.reason, trial.ended = data["status"], data.get("reason") or "", fact.time
        trial.failure = class_of(data)
        trial.value = data["value"] if data.get("value") is not None else trial.value
        trial.values, trial.excess = data.get("values", {}), data.get("excess", {})
        trial.repeats = data.get("repeats")
        if trial.repeats in record.trials:  # what was measured once is shown for both, and was spent once
            trial.measurements = [
                replace(m, cpu_s=0.0, episodes_spent=0) for m in record.trials[trial.repeats].measurements
            ]


def _reopen(trial: TrialRecord, fact: Fact) -> None:
    """Its ending no longer counts; what it measured does, unless it begins anew."""
    trial.status, trial.reason, trial.ended, trial.failure, trial.decision = WAITING, "", None, None, None
    trial.configs = fact.data.get("configs", trial.configs)
    trial.retries += fact.kind == "trial_retried"
    if fact.data.get("afresh"):
        trial.measurements, trial.value = [], None


def _propose(trial: TrialRecord, fact: Fact) -> None:
    data = fact.data
    trial.number, trial.phase = data.get("number"), data.get("phase", "search")
    trial.params, trial.configs = data.get("params", {}), data.get("configs", {})
    trial.seeds, trial.through = tuple(data.get("seeds", ())), data.get("through", "")
    trial.confirms, trial.started = data.get("confirms"), trial.started or fact.time


def _measurement(fact: Fact) -> Measurement:
    data = fact.data
    return Measurement(
        kind=fact.kind,
        stage=data["stage"],
        step=data["step"],
        steps=data.get("steps", data["step"]),
        seeds=tuple(data["seeds"]),
        metrics=data["metrics"],
        episodes=data.get("episodes", ()),
        episodes_spent=data.get("episodes_spent", 0),
        cpu_s=data.get("cpu_s", 0.0),
        time=fact.time,
        wall_s=data.get("wall_s", 0.0),
    )


def _score(record: SweepRecord, trial: TrialRecord, scored: Measurement) -> None:
    lanes = scored.metrics.get(record.metric.split("/", 1)[1])
    if lanes and scored.stage == trial.through:
        trial.value = sum(lanes) / len(lanes)
