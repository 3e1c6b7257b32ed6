"""Objectives, limits and fixed points checked against what a system reports and what is searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...search_spaces.conditions import is_active
from ...search_spaces.parameters import Choice, Integer, Space, same_value
from ..errors import UserError, nearest
from .goals import Goals


def metric_errors(goals: Goals, metrics: Mapping[str, str]) -> Iterator[UserError]:
    """Objectives and constraints that no stage reports, or that are not all of one stage.

    Args:
        metrics: what the system reports, as ``stage/metric``.
    """
    stage = goals.objectives[0].metric.split("/", 1)[0]
    several = len(goals.objectives) > 1
    named = [
        (f"objective.{i}.metric" if several else "objective.metric", goal.metric)
        for i, goal in enumerate(goals.objectives)
    ]
    named += [(f"constraints.{i}.metric", limit.metric) for i, limit in enumerate(goals.constraints)]
    seen: set[str] = set()
    for key, metric in named:
        if metric not in metrics:
            yield UserError(
                "no stage reports this metric", key=key, value=metric, fix=_there_are(metric, metrics)
            )
        elif metric.split("/", 1)[0] != stage:
            yield UserError(
                f"must be of the stage `{stage}`, like the first objective", key=key, value=metric,
                fix="A trial is scored on one stage.",
            )  # fmt: skip
        elif key.startswith("objective") and metric in seen:
            yield UserError("is an objective twice", key=key, value=metric, fix="Name each once.")
        seen.add(metric)


def _there_are(metric: str, metrics: Mapping[str, str]) -> str:
    hint = nearest(metric, metrics)
    return hint if hint.startswith("Known") else f"{hint} Known: {', '.join(sorted(metrics))}."


def fixed_errors(space: Space, points: Sequence[Mapping[str, Any]]) -> Iterator[UserError]:
    """What of the points tried first lies outside the space."""
    for index, point in enumerate(points):
        for key, value in point.items():
            yield from _point_errors(space, point, key, value, f"search.fixed.{index}.{key}")


def _point_errors(
    space: Space, fixed: Mapping[str, Any], key: str, value: Any, where: str
) -> Iterator[UserError]:
    mend = "Change the point, drop it (`search.fixed: []`), or widen the range."
    parameter = space.get(key)
    if parameter is None:
        yield UserError("is not searched", key=where, fix=nearest(key, space))
    elif not is_active(parameter, fixed):
        wanted = " and ".join(f"{parent} {value}" for parent, value in parameter.when.items())
        yield UserError(
            f"is searched only with {wanted}, which this point does not say",
            key=where,
            fix="Add it, or drop this.",
        )
    elif isinstance(parameter, Choice):
        if not any(same_value(value, choice) for choice in parameter.values):
            yield UserError(f"must be one of {list(parameter.values)}", key=where, value=value, fix=mend)
    elif isinstance(value, str) or not parameter.low <= value <= parameter.high:
        yield UserError(
            f"must lie in [{parameter.low:g}, {parameter.high:g}]", key=where, value=value, fix=mend
        )
    elif isinstance(parameter, Integer) and not isinstance(value, int):
        yield UserError("must be a whole number", key=where, value=value, fix=mend)
