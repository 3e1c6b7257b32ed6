"""What the figures of a report show, taken from a sweep's record."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from ...search_spaces.parameters import Choice, Parameter, Space
from ..record.results import LeaderboardRow, SweepState, TrialState
from . import plots
from .importance import Importance, parameter_importance
from .page import Picture, embedded, embedded_file


def searched_space(record: SweepState) -> Space:
    """The search space as the plan recorded it; empty when there is none on record."""
    recorded: Mapping[str, Any] = record.started.plan.get("searched", {}) if record.started else {}
    return {name: TypeAdapter(Parameter).validate_json(json.dumps(value)) for name, value in recorded.items()}


def metric_name(record: SweepState) -> str:
    """The objective without its stage."""
    return record.metric.bare


def importance(record: SweepState) -> Importance | None:
    """Which parameters mattered, judged by the search trials that ran to their end."""
    finished = [
        (trial.params, trial.value)
        for trial in record.phase("search")
        if trial.status == "finished" and trial.value is not None and not trial.repeats
    ]
    return parameter_importance(searched_space(record), finished, record.direction)


def curves(record: SweepState, first: str | None) -> list[plots.Curve]:
    """The objective of every search trial at each of its evaluations, the mean over its seeds."""
    name = metric_name(record)
    found = []
    for trial in record.phase("search"):
        scored = [m for m in trial.evaluations if m.stage == trial.through and m.metrics.get(name)]
        role = "first" if trial.trial == first else "stopped" if trial.status == "pruned" else "other"
        values = [report.mean(name) for report in scored]
        found.append(plots.Curve(trial.trial, [m.step for m in scored], values, role))
    return found


def curves_picture(record: SweepState, first: str | None) -> Picture | None:
    """Learning curves, where anything was scored."""
    drawn = curves(record, first)
    if not any(math.isfinite(value) for curve in drawn for value in curve.values):
        return None
    image = plots.svg(plots.draw_curves, drawn, record.metric)
    seeds = len(record.spec.get("seeds", {}).get("tune", [0]))
    over = f", mean over {seeds} seeds" if seeds > 1 else ""
    return embedded(
        image, ".svg", "learning curves of the search trials", f"The objective while training{over}."
    )


def plane(record: SweepState, shares: Mapping[str, float]) -> tuple[str, ...]:
    """The two numeric parameters that mattered most; the first two of the space when that is not known."""
    numeric = [
        name for name, parameter in searched_space(record).items() if not isinstance(parameter, Choice)
    ]
    return tuple(sorted(numeric, key=lambda name: -shares.get(name, 0.0))[:2])


def points(record: SweepState, names: tuple[str, ...]) -> list[plots.Point]:
    """Every search trial in the plane of two parameters, or of one and the objective."""
    return [
        plots.Point(
            trial.trial, *_place(trial, names), value=_value(trial), finished=trial.status == "finished"
        )
        for trial in record.phase("search")
        if all(isinstance(trial.params.get(name), int | float) for name in names)
    ]


def landscape_picture(record: SweepState, shares: Mapping[str, float], first: str | None) -> Picture | None:
    """The objective over the parameters that mattered most."""
    names, space = plane(record, shares), searched_space(record)
    shown = points(record, names) if names else []
    if not any(math.isfinite(point.value) for point in shown):
        return None
    logs = tuple(getattr(space[name], "log", False) for name in names)
    if len(names) == 1:
        names, logs = (names[0], record.metric), (logs[0], False)
    options = {"first": first, "maximize": record.direction == "maximize"}
    image = plots.svg(plots.draw_landscape, shown, names, logs, record.metric, height=3.8, **options)
    caption = (
        "Each mark is a trial: discs ran to their end, squares were stopped early, crosses have no value."
    )
    return embedded(image, ".svg", f"objective over {' and '.join(names)}", caption)


def importance_picture(found: Importance) -> Picture:
    """Shares of the parameters as bars."""
    height = 0.5 + 0.36 * len(found.shares)
    image = plots.svg(plots.draw_importance, found.shares, height=height)
    return embedded(
        image, ".svg", "importance of the searched parameters", f"Estimated by {found.evaluator}."
    )


def label(record: SweepState, name: str) -> str:
    """What a trial is called beside others: a confirmation by the trial it confirms, a baseline as such."""
    trial = record.trials[name]
    return f"baseline {trial.through}" if trial.phase == "baseline" else trial.confirms or name


def estimates(record: SweepState, rows: list[LeaderboardRow]) -> list[plots.Estimate]:
    """Confirmed scores with their intervals."""
    return [
        plots.Estimate(
            label(record, row.trial),
            row.score.mean,
            row.score.low,
            row.score.high,
            row.per_seed,
            baseline=row.phase == "baseline",
        )
        for row in rows
    ]


def estimates_picture(record: SweepState, rows: list[LeaderboardRow]) -> Picture | None:
    """Confirmed scores side by side."""
    shown = [row for row in estimates(record, rows) if math.isfinite(row.mean)]
    if not shown:
        return None
    image = plots.svg(plots.draw_estimates, shown, metric_name(record), height=0.9 + 0.42 * len(shown))
    caption = "Mean with 95 % interval on the test seeds; the ticks below are the single seeds."
    return embedded(image, ".svg", "scores on the test seeds", caption)


def media_pictures(record: SweepState) -> list[Picture]:
    """Pictures and videos the trials left behind, as far as they are still there."""
    found = []
    for trial in record.trials.values():
        for artifact in trial.artifacts:
            path = (record.paths.root / artifact.path).resolve()
            if artifact.role == "media" and path.is_relative_to(record.paths.root.resolve()):
                found.append(embedded_file(path, f"{trial.trial}: {path.stem}"))
    return [picture for picture in found if picture]


def _place(trial: TrialState, names: tuple[str, ...]) -> tuple[float, float]:
    x = float(trial.params[names[0]])
    return (x, float(trial.params[names[1]])) if len(names) > 1 else (x, _value(trial))


def _value(trial: TrialState) -> float:
    return math.nan if trial.value is None else float(trial.value)
