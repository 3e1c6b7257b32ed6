"""Who is best, how sure that is, and what reuse and stopping early have saved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .intervals import Comparison, Interval, compare, interval
from .records import Measurement, SweepRecord, TrialRecord

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


def leaderboard(
    record: SweepRecord, metric: str | None = None, direction: str | None = None
) -> list[LeaderboardRow]:
    """Scored trials, best first: confirmations and baselines, then the search.

    A trial that did not run to its end follows those that did, unranked: its score is of less training.

    Args:
        record: the sweep.
        metric: ``stage/metric``; the objective when left out. A baseline is scored on its own last stage.
        direction: ``maximize`` or ``minimize``; the objective's when left out.
    """
    name = (metric or record.metric).split("/", 1)[-1]
    sign = -1 if (direction or record.direction) == "maximize" else 1
    rows: list[LeaderboardRow] = []
    for phases in GROUPS:
        scored = [
            (trial, last)
            for trial in record.trials.values()
            if trial.phase in phases and (last := trial.last_evaluation(name)) is not None
        ]
        group = [_row(record, trial, last, name) for trial, last in scored]
        group.sort(key=lambda row: (row.status != "finished", _last_if_nan(sign * row.score.mean), row.trial))
        rows += [_ranked(row, rank) for rank, row in enumerate(group, 1)]
    return rows


def best(record: SweepRecord) -> LeaderboardRow | None:
    """The best finished search trial, judged by its confirmation where there is one."""
    rows = [row for row in leaderboard(record) if row.rank is not None and row.phase != "baseline"]
    return rows[0] if rows else None


def first_against(
    record: SweepRecord, first: str, second: str, metric: str | None = None
) -> Comparison | None:
    """Is one trial really better than another? None where they share no seed to be paired on.

    Args:
        record: the sweep.
        first, second: trial ids, both confirmed or both not.
        metric: ``stage/metric``; the objective when left out.
    """
    name = (metric or record.metric).split("/", 1)[-1]
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


def savings(record: SweepRecord) -> Savings:
    """What the sweep has cost and what it has not."""
    trials = list(record.trials.values())
    pruned = [trial for trial in trials if trial.status == "pruned"]
    uses = [use for trial in trials for use in trial.stages]
    return Savings(
        computed_cpu_s=sum(trial.cpu_s for trial in trials),
        reused_cpu_s=sum(trial.saved_cpu_s for trial in trials),
        pruned_spent_cpu_s=sum(trial.cpu_s for trial in pruned),
        pruned_saved_cpu_s=sum(_left_cpu_s(trial) for trial in pruned),
        stages_computed=sum(not use.reused for use in uses),
        stages_reused=sum(use.reused for use in uses),
        episodes_spent=sum(trial.episodes_spent for trial in trials),
    )


def _left_cpu_s(trial: TrialRecord) -> float:
    step, steps = trial.progress
    return trial.stage_cpu_s(trial.through) / step * (steps - step) if step else 0.0


def _row(record: SweepRecord, trial: TrialRecord, last: Measurement, name: str) -> LeaderboardRow:
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
    )


def _mean(trial: TrialRecord, name: str) -> float | None:
    last = trial.last_evaluation(name)
    return sum(last.metrics[name]) / len(last.metrics[name]) if last else None


def _ranked(row: LeaderboardRow, rank: int) -> LeaderboardRow:
    return replace(row, rank=rank) if row.status == "finished" else row


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value
