"""Names without a stage in sweeps of a system that has but one: made full, so that everything that follows knows one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...trainables.base import Stage, System
from ..errors import UserError
from .search_spec import Constraint, Goal
from .spec import SweepSpec

REPORTS = 20
"""Scores of a trial whose stage has no episodes to play, where nothing is said: they cost nothing."""


def with_stage_names(spec: SweepSpec, system: System) -> SweepSpec:
    """The sweep with its system's only stage in front of every field and metric; the same where there are several.

    Raises:
        UserError: `config` is used with several stages.
    """
    if len(system.stages) != 1:
        if spec.config:
            raise UserError(
                f"`{system.name}` has several stages", key="config",
                fix=f"Write it by stage: `stages: {{{system.stages[-1].name}: {{…}}}}`.",
            )  # fmt: skip
        return spec
    (stage,) = system.stages
    return _with_defaults(_full(spec, stage), stage, system)


def _full(spec: SweepSpec, stage: Stage[Any]) -> SweepSpec:
    def field(key: str) -> str:
        return key if "." in key else f"{stage.name}.{key}"

    def goal(one: Any) -> Any:
        full = one.metric if "/" in one.metric else f"{stage.name}/{one.metric}"
        return one.model_copy(update={"metric": type(one.metric)(full)})

    space: Any = spec.space
    if isinstance(space, Mapping):
        space = {
            field(key): one.model_copy(update={"when": {field(k): v for k, v in one.when.items()}})
            for key, one in space.items()
        }
    leading = goal(spec.objective)
    several: tuple[Goal, ...] = tuple(goal(one) for one in spec.objective.several)
    limits: tuple[Constraint, ...] = tuple(goal(one) for one in spec.constraints)
    fixed = tuple({field(key): value for key, value in point.items()} for point in spec.search.fixed)
    settings = {**spec.config, **spec.stages.get(stage.name, {})}
    stages = {**spec.stages, **({stage.name: settings} if settings else {})}
    return spec.model_copy(
        update={
            "config": {}, "stages": stages, "space": space, "constraints": limits,
            "objective": leading.model_copy(update={"several": several}),
            "search": spec.search.model_copy(update={"fixed": fixed}),
        }
    )  # fmt: skip


def _with_defaults(spec: SweepSpec, stage: Stage[Any], system: System) -> SweepSpec:
    """How often to look at a stage that scores itself, and from when on: a part of its steps, where nothing is said."""
    if stage.episodic:
        return spec
    settings = spec.stages.get(stage.name, {})
    preset = system.presets.get(spec.preset)
    steps = settings.get("steps") or (preset()[stage.name].steps if preset else 0)
    if not isinstance(steps, int) or steps < 1:
        return spec
    every = spec.evaluation.every_steps or max(1, steps // REPORTS)
    stop = spec.stop
    if "min_steps" not in stop.model_fields_set:
        stop = stop.model_copy(update={"min_steps": max(every, steps // stop.reduction**2)})
    evaluation = spec.evaluation.model_copy(update={"every_steps": every})
    return spec.model_copy(update={"evaluation": evaluation, "stop": stop})
