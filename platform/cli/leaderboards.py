"""Ranked trials as tables for a person: every objective and limit, the Pareto front, what repeats what."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...trainables.names import ParameterName
from ..sweep.goals import Goals
from .shared import console, grid, numbers

if TYPE_CHECKING:
    from ..record.results import LeaderboardRow, SweepState


MOST_ROWS = 20
"""Trials of a table, the best first, unless all are asked for."""


def print_rows(
    title: str, record: SweepState, rows: list[LeaderboardRow], most: int | None = MOST_ROWS
) -> None:
    """One table of trials on the same seeds, the first ``most`` of them."""
    if not rows:
        return
    rows, left = rows[:most], len(rows[most:]) if most else 0
    keys = list(dict.fromkeys(key for row in rows for key in row.params))
    beside = other_metrics(record)
    body = [
        [str(row.rank or ""), row.trial, score_text(row), *(_value(row.metrics.get(name)) for name in beside),
         *(_param(row.params.get(key)) for key in keys),
         status_text(row), f"{row.step:,}/{row.steps:,}", f"{len(row.seeds)} x {row.episodes}"]
        for row in rows
    ]  # fmt: skip
    columns = [
        "",
        "trial",
        f"{record.metric} [95 %]",
        *beside,
        *(ParameterName(key).bare for key in keys),
        "status",
        "steps",
        "seeds x episodes",
    ]
    numeric = len(beside) + len(keys)
    console.print()
    console.print(grid(title, columns, body, {0, *range(3, 3 + numeric), 4 + numeric}))
    if left:
        console.print(f"  … {left:,} more: flowsweep show {record.name} --all", style="dim", markup=False)
    methods = sorted({row.score.method for row in rows if row.score.method})
    console.print(f"  intervals: {'; '.join(methods)}", style="dim", markup=False)


def print_goals(record: SweepState, rows: list[LeaderboardRow]) -> None:
    """What the table is ordered by, where that is more than one value."""
    goals = Goals.recorded(record.spec)
    if len(goals.objectives) > 1:
        directions = ", ".join(f"{goal.direction} {goal.metric}" for goal in goals.objectives)
        on_front = [row.trial for row in rows if row.front]
        console.print(f"  Pareto front ({directions}): {_few(on_front) or 'nobody yet'}", markup=False)
    if goals.constraints:
        limits = " and ".join(limit.text for limit in goals.constraints)
        broken = [row.trial for row in rows if row.rank and not row.feasible]
        console.print(f"  {limits} is not kept by: {_few(broken) or 'nobody'}", markup=False)


def print_best(record: SweepState, row: LeaderboardRow, members: list[LeaderboardRow]) -> None:
    """What must be said beside the best trial: other metrics, limits it breaks, and the rest of the front."""
    for name in other_metrics(record):
        console.print(f"  {name} {_value(row.metrics.get(name)) or 'not known'}", markup=False)
    for text in broken_limits(row):
        console.print(f"  infeasible: {text}", style="red", markup=False)
    if len(Goals.recorded(record.spec).objectives) > 1:
        print_rows("Pareto front (tuning seeds); the best in the first objective leads", record, members)


def broken_limits(row: LeaderboardRow) -> list[str]:
    """The limits a trial does not keep, and by how much."""
    return [
        f"{limit} is not kept" + (f", by {beyond:.4g}" if beyond == beyond else ": its metric is not known")
        for limit, beyond in row.excess.items()
        if not beyond <= 0
    ]


def other_metrics(record: SweepState) -> list[str]:
    """What a sweep looks at beside its leading objective."""
    return [metric for metric in Goals.recorded(record.spec).metrics if metric != record.metric]


def goals_json(record: SweepState) -> dict[str, Any]:
    """Objectives and constraints for a script."""
    goals = Goals.recorded(record.spec)
    return {
        "objectives": [{"metric": goal.metric, "direction": goal.direction} for goal in goals.objectives],
        "constraints": [limit.text for limit in goals.constraints],
    }


def score_text(row: LeaderboardRow) -> str:
    """A score with its interval."""
    score = row.score
    if not score.method or not math.isfinite(score.low):
        return f"{score.mean:.4g}"
    shape = ".3f" if abs(score.mean) >= 0.01 or score.mean == 0 else ".3g"  # a loss of 2e-5 is not 0
    return f"{score.mean:{shape}} [{score.low:{shape}}, {score.high:{shape}}]"


def status_text(row: LeaderboardRow) -> str:
    """How a trial ended, and what else to know of it."""
    if row.repeats:
        return f"as {row.repeats}"
    return row.status + ("" if row.feasible else ", infeasible") + (", front" if row.front else "")


def _few(trials: list[str]) -> str:
    left = len(trials) - MOST_ROWS
    return ", ".join(trials[:MOST_ROWS]) + (f" and {left:,} more" if left > 0 else "")


def _param(value: Any) -> str:
    return "" if value is None else numbers({"": value})[1:]


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def best_json(row: LeaderboardRow, members: list[LeaderboardRow]) -> dict[str, Any]:
    """What :func:`print_best` says, for a script."""
    return {
        "metrics": dict(row.metrics),
        "feasible": row.feasible,
        "broken_limits": broken_limits(row),
        "front": [{"trial": m.trial, "params": dict(m.params), "metrics": dict(m.metrics)} for m in members],
    }
