"""Who is best, how sure that is, and what reuse and stopping early have saved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...trainables.events import Evaluated, StageComputed, StageReused
from ...trainables.names import MetricName
from ..journal.state import SweepState, TrialState
from ..sweep.goals import Goals, is_feasible
from .intervals import Comparison, Interval, compare, interval
from .ranking import Scored, front, ranked_trials

GROUPS = (("confirm", "baseline"), ("search",))
"""Phases that are ranked against each other: they share seeds. Confirmations come first, being free of selection."""


@dataclass(frozen=True)
class LeaderboardRow:
    """One scored trial.

    Attributes:
        rank: within the trials on the same seeds, from 1; None where it did not run to its end.
        score: mean with 95 % interval and how that was found.
        seeds, per_seed: the values behind the mean.
        episodes: played per seed in that evaluation.
        step, steps: at which it was scored, and wanted.
        search_value: of a confirmation, what its trial had scored in the search.
        metrics: every objective and limited metric at that evaluation, or when last reported.
        excess: by constraint, how far beyond its limit; 0 or below where it is kept.
        repeats: the earlier trial of the same configuration that answered for it; such a one has no rank.
        front: whether it lies on the Pareto front, where there are several objectives.
    """

    rank: int | None
    trial: str
    phase: str
    status: str
    params: Mapping[str, Any]
    score: Interval
    seeds: tuple[int, ...]
    per_seed: tuple[float, ...]
    episodes: int
    episodes_spent: int
    cpu_s: float
    step: int
    steps: int
    confirms: str | None
    search_value: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    excess: Mapping[str, float] = field(default_factory=dict)
    repeats: str | None = None
    front: bool = False

    @property
    def feasible(self) -> bool:
        """Whether it keeps every limit."""
        return is_feasible(self.excess)


def leaderboard(
    record: SweepState, metric: str | None = None, direction: str | None = None
) -> list[LeaderboardRow]:
    """Scored trials, best first: confirmations and baselines, then the search.

    A trial that did not run to its end follows those that did, unranked: its score is of less training. With several
    objectives or constraints, the order is that of :func:`ranked_trials`.

    Args:
        record: the sweep.
        metric: ``stage/metric``; the objective when left out. A baseline is scored on its own last stage.
        direction: ``maximize`` or ``minimize``; the objective's when left out.
    """
    known = record.derived.get((leaderboard, metric, direction))
    if known is None or known[0] != record.last_seq:
        known = record.last_seq, _leaderboard(record, metric, direction)
        record.derived[leaderboard, metric, direction] = known
    return list(known[1])


def _leaderboard(record: SweepState, metric: str | None, direction: str | None) -> list[LeaderboardRow]:
    name, goals = MetricName(metric or record.metric).bare, Goals.recorded(record.spec)
    sign = -1 if (direction or record.direction) == "maximize" else 1
    rows: list[LeaderboardRow] = []
    for phases in GROUPS:
        scored = [
            (trial, last)
            for trial in record.trials.values()
            if trial.phase in phases and (last := trial.last_evaluation(name)) is not None
        ]
        group = [_row(record, goals, trial, last, name) for trial, last in scored]
        group.sort(key=lambda row: (row.status != "finished", _last_if_nan(sign * row.score.mean), row.trial))
        if metric is None and not goals.single:
            group = _by_goals(goals, group)
        rows += _with_ranks(group)
    return rows


def front_rows(record: SweepState) -> list[LeaderboardRow]:
    """The search trials on the Pareto front, in the order of the leaderboard; none with a single objective."""
    return [row for row in leaderboard(record) if row.front and row.phase == "search"]


def _by_goals(goals: Goals, group: list[LeaderboardRow]) -> list[LeaderboardRow]:
    """Ranked trials in the order of objectives and constraints, the front marked; then the others as they were."""
    ends = {
        row.trial: Scored(values, row.excess)
        for row in group
        if row.status == "finished" and not row.repeats and (values := goals.values(row.metrics)) is not None
    }
    order = ranked_trials(goals, ends)
    members = set(front(goals, ends)) if len(goals.objectives) > 1 else set()
    rows = {row.trial: replace(row, front=row.trial in members) for row in group}
    return [rows[name] for name in order] + [row for row in group if row.trial not in ends]


def best(record: SweepState) -> LeaderboardRow | None:
    """The best finished trial, which `best`, `rerun`, `export`, the list and the report all mean.

    One that keeps every limit before any that does not; a confirmation before what only the search has scored. A search
    trial whose confirmation breaks a limit is taken to break it.
    """
    rows = [row for row in leaderboard(record) if row.rank is not None and row.phase != "baseline"]
    refuted = {row.confirms for row in rows if row.confirms and not row.feasible}
    kept = [row for row in rows if row.feasible and row.trial not in refuted]
    return next(iter(kept or rows), None)


def first_against(
    record: SweepState, first: str, second: str, metric: str | None = None
) -> Comparison | None:
    """Is one trial really better than another? None where they share no seed to be paired on.

    Args:
        record: the sweep.
        first, second: trial ids, both confirmed or both not.
        metric: ``stage/metric``; the objective when left out.
    """
    name = MetricName(metric or record.metric).bare
    sides = []
    for trial in (first, second):
        last = record.trials[trial].last_evaluation(name)
        if last is None:
            return None
        sides.append((last.seeds, last.metrics[name], last.episodes))
    return compare(name, sides[0], sides[1], record.direction == "maximize")


@dataclass(frozen=True)
class Savings:
    """Process time, in core-seconds.

    Attributes:
        computed_cpu_s: spent on everything.
        reused_cpu_s: not spent because a stage was already there.
        pruned_spent_cpu_s: spent on trials that were stopped early.
        pruned_saved_cpu_s: estimate of what those would have taken further: missing steps of the last stage at the
            trial's own measured cost per step.
        stages_computed, stages_reused: shared stage outputs.
        episodes_spent: evaluation episodes, in all phases.
    """

    computed_cpu_s: float
    reused_cpu_s: float
    pruned_spent_cpu_s: float
    pruned_saved_cpu_s: float
    stages_computed: int
    stages_reused: int
    episodes_spent: int

    @property
    def factor(self) -> float:
        """How many times longer it would have taken without reuse and without stopping early."""
        saved = self.reused_cpu_s + self.pruned_saved_cpu_s
        return (self.computed_cpu_s + saved) / self.computed_cpu_s if self.computed_cpu_s else math.nan


def savings(record: SweepState) -> Savings:
    """What the sweep has cost and what it has not."""
    trials = list(record.trials.values())
    pruned = [trial for trial in trials if trial.status == "pruned"]
    uses = [use for trial in trials for use in trial.stages]
    return Savings(
        computed_cpu_s=sum(trial.cpu_s for trial in trials),
        reused_cpu_s=sum(trial.saved_cpu_s for trial in trials),
        pruned_spent_cpu_s=sum(trial.cpu_s for trial in pruned),
        pruned_saved_cpu_s=sum(_left_cpu_s(trial) for trial in pruned),
        stages_computed=sum(isinstance(use, StageComputed) for use in uses),
        stages_reused=sum(isinstance(use, StageReused) for use in uses),
        episodes_spent=sum(trial.episodes_spent for trial in trials),
    )


def _left_cpu_s(trial: TrialState) -> float:
    step, steps = trial.progress
    return trial.stage_cpu_s(trial.through) / step * (steps - step) if step else 0.0


def _row(record: SweepState, goals: Goals, trial: TrialState, last: Evaluated, name: str) -> LeaderboardRow:
    lanes = tuple(last.metrics[name])
    searched = record.trials.get(trial.confirms or "")
    return LeaderboardRow(
        rank=None,
        trial=trial.trial,
        phase=trial.phase,
        status=trial.status,
        params=trial.params,
        score=interval(name, lanes, last.episodes),
        seeds=last.seeds,
        per_seed=lanes,
        episodes=last.episodes_spent // max(1, len(last.seeds)),
        episodes_spent=trial.episodes_spent,
        cpu_s=trial.cpu_s,
        step=last.step,
        steps=last.steps,
        confirms=trial.confirms,
        search_value=_mean(searched, name) if searched else None,
        metrics={} if goals.single else {**goals.read(trial.latest), **trial.values},
        excess=trial.excess,
        repeats=trial.repeats,
    )


def _mean(trial: TrialState, name: str) -> float | None:
    last = trial.last_evaluation(name)
    return last.mean(name) if last else None


def _with_ranks(group: list[LeaderboardRow]) -> list[LeaderboardRow]:
    """Rows with their ranks; what repeats a trial follows it without one of its own."""
    repeats: dict[str, list[LeaderboardRow]] = {}
    for row in group:
        if row.repeats:
            repeats.setdefault(row.repeats, []).append(row)
    rows, rank = [], 0
    for row in (row for row in group if not row.repeats):
        rank += row.status == "finished"
        rows.append(replace(row, rank=rank) if row.status == "finished" else row)
        rows += repeats.get(row.trial, [])
    return rows


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value
