"""A sweep file checked against its system: every name, type and range, before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from pydantic import ValidationError

from ...search_spaces.conditions import condition_errors, supporting
from ...search_spaces.parameters import Choice, Space, is_proposed, named_space
from ...trainables.base import Source, StageConfig, System, load_system
from ...trainables.config import parse
from ..errors import UserError, UserErrors, nearest
from .goal_checks import fixed_errors, metric_errors
from .goals import Goals
from .one_stage import with_stage_names
from .source_checks import source_errors
from .spec import SweepSpec
from .workers import worker_errors

GRACE_SHARE = 0.2
"""Part of the objective's stage in which no trial with constraints is stopped, unless the sweep says otherwise."""
MOST_CORNERS = 6
"""Numeric parameters whose ends are combined when looking for settings that cancel each other."""


@dataclass(frozen=True)
class Resolved:
    """A sweep that makes sense.

    Attributes:
        spec: the sweep file with its ranges written out, so that what is recorded and resumed searches the same.
        configs: the full configuration of every stage that the searched parameters then amend.
        space: searched parameters by ``stage.field``; empty while it waits for the data.
        stage: the stage whose metric is the objective; the walk ends there.
    """

    spec: SweepSpec
    system: System
    configs: Mapping[str, StageConfig]
    space: Space
    stage: str

    def trial_configs(self, params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The full configuration of every stage with a trial's parameters in place.

        Raises:
            UserError: a value breaks a rule of its field.
        """
        return {name: config.model_dump(mode="json") for name, config in self.amended(params).items()}

    def warnings(self) -> list[str]:
        """Settings that cannot do what they seem to ask, at every corner of the numeric ranges searched."""
        ends = {key: (p.low, p.high) for key, p in self.space.items() if not isinstance(p, Choice)}
        corners = [
            dict(zip(ends, corner, strict=False)) for corner in product(*list(ends.values())[:MOST_CORNERS])
        ]
        beside = {k: v for key in ends for k, v in supporting(self.space, key).items()}
        found: dict[str, None] = {}
        for params in corners or [{}]:
            for name, config in self.amended({**beside, **params}).items():
                found |= dict.fromkeys(f"{name}: {text}" for text in config.warnings())
        return list(found)

    def amended(self, params: Mapping[str, Any]) -> dict[str, StageConfig]:
        """The stage configurations with some parameters in place."""
        values = {name: config.model_dump(mode="json") for name, config in self.configs.items()}
        for key, value in params.items():
            stage, name = key.split(".", 1)
            values[stage][name] = value
        return {name: parse(type(self.configs[name]), given, name) for name, given in values.items()}


def resolve(spec: SweepSpec, source: Source | None = None) -> Resolved:
    """Check a sweep against its system.

    Args:
        source: what is learnt from, once it is open. A space that is made from the data is made and checked only then.

    Raises:
        UserError, UserErrors: what is wrong, all of it where several things are.
    """
    system = load_system(spec.system)
    spec = with_stage_names(spec, system)
    if wrong := list(source_errors(spec, system)):
        raise UserErrors(wrong)
    configs = _configs(spec, system)
    stage = _objective_stage(spec, system)
    spec = _with_grace(spec, configs[stage].steps)
    resolved = Resolved(spec, system, configs, {}, stage)
    errors = [*_baseline_errors(spec, system), *worker_errors(spec.resources, system)]
    space = _space(spec, source)
    if space is not None:
        resolved = replace(resolved, spec=spec.model_copy(update={"space": space}), space=space)
        errors = [*_space_errors(resolved), *fixed_errors(space, spec.search.fixed), *errors]
    if errors:
        raise UserErrors(errors)
    return resolved


def _with_grace(spec: SweepSpec, steps: int) -> SweepSpec:
    """The sweep with its grace period written out, so that an extension to more steps judges at the same ones."""
    if not spec.constraints or spec.stop.grace_steps is not None:
        return spec
    stop = spec.stop.model_copy(update={"grace_steps": int(GRACE_SHARE * steps)})
    return spec.model_copy(update={"stop": stop})


def _space(spec: SweepSpec, source: Source | None) -> Space | None:
    """The ranges searched; None when they are made from data that are not open yet."""
    if not isinstance(spec.space, str):
        return dict(spec.space)
    if source is None and is_proposed(spec.system, spec.space):
        return None
    return named_space(spec.system, spec.space, source)


def _configs(spec: SweepSpec, system: System) -> dict[str, StageConfig]:
    if spec.preset not in system.presets:
        raise UserError(
            "unknown preset", key="preset", value=spec.preset, fix=nearest(spec.preset, system.presets)
        )
    configs = dict(system.presets[spec.preset]())
    errors: list[UserError] = []
    for name, amendments in spec.stages.items():
        if name not in configs:
            errors.append(UserError("unknown stage", key=f"stages.{name}", fix=nearest(name, configs)))
            continue
        given = configs[name].model_dump(mode="json") | dict(amendments)
        try:
            configs[name] = parse(type(configs[name]), given, f"stages.{name}")
        except UserErrors as error:
            errors += error.errors
    if errors:
        raise UserErrors(errors)
    return configs


def _objective_stage(spec: SweepSpec, system: System) -> str:
    if errors := list(metric_errors(Goals.of(spec), system.metrics())):
        raise UserErrors(errors)
    return spec.objective.metric.split("/", 1)[0]


def _space_errors(resolved: Resolved) -> Iterable[UserError]:
    reached = [stage.name for stage in resolved.system.stages]
    reached = reached[: reached.index(resolved.stage) + 1]
    fields = {f"{s}.{name}" for s in reached for name in type(resolved.configs[s]).model_fields}
    if errors := list(condition_errors(resolved.space)):
        yield from errors
        return
    for key, parameter in resolved.space.items():
        where = f"space.{key}"
        if key not in fields:
            yield UserError(
                f"no field of a stage up to `{resolved.stage}`, whose metric is the objective",
                key=where,
                fix=nearest(key, fields),
            )
            continue
        ends = parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high)
        for value in ends:
            try:
                resolved.amended({**supporting(resolved.space, key), key: value})
            except (UserError, ValidationError) as error:
                yield UserError(f"reaches {value!r}, which the field refuses: {error}", key=where)


def _baseline_errors(spec: SweepSpec, system: System) -> Iterable[UserError]:
    names = [stage.name for stage in system.stages]
    looked_at = [metric.split("/", 1)[1] for metric in Goals.of(spec).metrics]
    for name in spec.confirm.baselines:
        if name not in names:
            yield UserError("unknown stage", key="confirm.baselines", value=name, fix=nearest(name, names))
        elif missing := [metric for metric in looked_at if metric not in system.stage(name).metrics]:
            yield UserError(
                f"this stage does not report `{'`, `'.join(missing)}`, so it cannot stand beside the trials",
                key="confirm.baselines",
                value=name,
                fix=f"It reports: {', '.join(sorted(system.stage(name).metrics))}.",
            )
