"""Limits in a report: the objective against each limited metric with the limit drawn in, and how the metric got there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes

from ..record.results import LeaderboardRow, SweepState, TrialState
from ..sweep.goals import Goals
from ..sweep.search_spec import Constraint, Goal
from . import plots
from .page import Picture, embedded
from .ranking import Scored, front

Plane = tuple[float, float]
"""A trial's limited metric and its objective."""


def limit_pictures(goals: Goals, rows: Sequence[LeaderboardRow]) -> list[Picture]:
    """The leading objective over every limited metric, the limit drawn in.

    Args:
        rows: search trials that ran to their end.
    """
    objective, pictures = goals.objectives[0], []
    for limit in goals.constraints:
        places = {
            row.trial: (row.metrics[limit.metric], row.metrics[objective.metric])
            for row in rows
            if all(
                math.isfinite(row.metrics.get(name, math.nan)) for name in (limit.metric, objective.metric)
            )
        }
        if not places:
            continue
        shown = [row for row in rows if row.trial in places]
        members = set(exchange_front(objective, limit, places))
        image = plots.svg(draw_limit, shown, places, members, objective, limit, height=3.6)
        caption = (
            "Each mark is a trial: discs keep every limit, crosses break one. Joined: the front, where no trial has both "
            "more of what is wanted and less of what is limited. The dashed line is the limit."
        )
        pictures.append(embedded(image, ".svg", f"{objective.metric} over {limit.metric}", caption))
    return pictures


def exchange_front(objective: Goal, limit: Constraint, places: dict[str, Plane]) -> list[str]:
    """The trials that no other beats in both the objective and the limited metric, whatever side of the limit they lie."""
    better: Literal["minimize", "maximize"] = "minimize" if limit.max is not None else "maximize"
    both = Goals((objective, Goal(metric=limit.metric, direction=better)))
    return front(both, {name: Scored((value, metric), {}) for name, (metric, value) in places.items()})


def draw_limit(
    axes: Axes,
    rows: Sequence[LeaderboardRow],
    places: dict[str, Plane],
    members: set[str],
    objective: Goal,
    limit: Constraint,
) -> None:
    """Trials in the plane of a limited metric and the objective; the front joined, the limit dashed, beyond it shaded."""
    looks = {
        True: ("keeps every limit", "o", plots.SECOND, 48),
        False: ("breaks a limit", "x", plots.QUIET, 36),
    }
    for feasible, (label, marker, colour, size) in looks.items():
        if found := [places[row.trial] for row in rows if row.feasible is feasible]:
            x, y = zip(*found, strict=True)
            axes.scatter(x, y, s=size, marker=marker, color=colour, linewidths=1.4, label=label, zorder=3)
    joined = sorted(places[name] for name in members)
    axes.plot(*zip(*joined, strict=True), color=plots.INK, linewidth=1.0, alpha=0.6, zorder=2, label="front")
    for row in rows:
        if row.rank == 1:
            axes.scatter(
                *places[row.trial], s=170, facecolors="none", edgecolors=plots.FIRST, linewidths=1.8, zorder=4
            )
            axes.annotate(
                plots.literal(f"{row.trial} (best)" if row.feasible else row.trial), places[row.trial],
                xytext=(-9, 8), textcoords="offset points", ha="right", fontsize=8, color=plots.FIRST,
            )  # fmt: skip
    axes.margins(0.12)
    low, high = axes.get_xlim()
    low, high = min(low, limit.bound), max(high, limit.bound)
    room = 0.06 * ((high - low) or 1.0)
    axes.set_xlim(low - room, high + room)
    axes.axvline(
        limit.bound, color=plots.FIRST, linestyle="--", linewidth=1.2, label=f"limit {limit.bound:g}"
    )
    beyond = (limit.bound, high + room) if limit.max is not None else (low - room, limit.bound)
    axes.axvspan(*beyond, color=plots.FIRST, alpha=0.07, linewidth=0)
    axes.set_xlabel(plots.literal(limit.metric))
    axes.set_ylabel(plots.literal(objective.metric))
    axes.legend(loc="best", fontsize=8)
    axes.grid(which="major")


def limit_curves(record: SweepState, first: str | None) -> list[Picture]:
    """Every limited metric while the search trials trained, the limit drawn in."""
    pictures = []
    for limit in Goals.recorded(record.spec).constraints:
        drawn = [_curve(trial, limit.metric, first) for trial in record.phase("search")]
        if any(math.isfinite(value) for curve in drawn for value in curve.values):
            image = plots.svg(draw_limit_curves, drawn, limit)
            caption = "The limited metric while training, mean over seeds; dashed: the limit."
            pictures.append(embedded(image, ".svg", f"{limit.metric} of the search trials", caption))
    return pictures


def draw_limit_curves(axes: Axes, curves: Sequence[plots.Curve], limit: Constraint) -> None:
    """Curves of a limited metric with its limit."""
    axes.axhline(
        limit.bound, color=plots.FIRST, linestyle="--", linewidth=1.2, label=f"limit {limit.bound:g}"
    )
    plots.draw_curves(axes, curves, limit.metric)


def _curve(trial: TrialState, metric: str, first: str | None) -> plots.Curve:
    stage, name = metric.split("/", 1)
    reports = [report for report in trial.evaluations if report.stage == stage and report.metrics.get(name)]
    if not reports:
        reports = [r for r in trial.progress_reports if r.stage == stage and r.metrics.get(name)]
    role = "first" if trial.trial == first else "stopped" if trial.status == "pruned" else "other"
    values = [report.mean(name) for report in reports]
    return plots.Curve(trial.trial, [report.step for report in reports], values, role)
