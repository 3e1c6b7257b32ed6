"""A system made of a training function, or taken from a file as it is."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ..base import Cost, Lane, Learner, Snapshot, Source, Stage, StageConfig, System, open_nothing
from ..errors import UserError
from ..system_check import check_system
from .code import Code, label_of, short_name
from .config import config_of
from .importing import load
from .metrics import DECLARED, metrics_of

LONG_STEPS = 200
"""Runs of fewer steps may be stopped after every one."""


class FunctionStage(Stage[Any]):
    """The only stage of a training function. Named like it."""

    episodic: ClassVar[bool] = False

    def __init__(
        self,
        function: Callable[..., Any],
        config_type: type[StageConfig],
        metrics: Mapping[str, str],
        code: Code,
    ):
        self.name, self.config_type, self.metrics = function.__name__, config_type, dict(metrics)  # type: ignore[misc]
        self.function, self.code = function, code

    def identity(self, *what: Any, **named: Any) -> dict[str, Any]:
        """As for every stage, and the code."""
        return {**super().identity(*what, **named), "code": self.code.digest}

    def start(self, lanes: Sequence[Lane[Any]], source: Source, device: str) -> Learner:
        from .learner import FunctionLearner  # loads torch

        return FunctionLearner(self.function, lanes, device, frozenset(self.metrics))

    def finished(
        self, lanes: Sequence[Lane[Any]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        from .learner import FinishedFunction

        return FinishedFunction(outputs, lanes[0].config.steps)

    def burst_steps(self, config: Any) -> int:
        """Few, since a step may be a whole epoch; ten where there are so many that each must be short."""
        return max(1, min(10, config.steps // LONG_STEPS))

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        """Nothing is known of it before a trial has run."""
        return Cost(core_s=0.0, disk_bytes=0)


def system_of(code: Code) -> System:
    """The system that a file holds.

    Raises:
        UserError: it cannot be loaded, or is neither a system nor a training function; with file and line.
    """
    found, where = load(code), label_of(code.name)
    if isinstance(found, System):
        check_system(found, where)
        return replace(found, code=code, stages=tuple(_with_code(stage, code) for stage in found.stages))
    if inspect.isfunction(found):
        return _of_function(found, code, where)
    raise UserError(
        f"is a {type(found).__name__}", key="system", value=where,
        fix="Name a training function (`def train(config, report)`) or a `System`.",
    )  # fmt: skip


def _of_function(function: Callable[..., Any], code: Code, where: str) -> System:
    parameters = list(inspect.signature(function).parameters)
    config_type = config_of(function, where)
    reporter = parameters[1] if len(parameters) > 1 else None
    declared = getattr(sys.modules.get(function.__module__), DECLARED, None)
    stage = FunctionStage(function, config_type, metrics_of(code, reporter, declared), code)
    says = (inspect.getdoc(function) or "").strip().splitlines()
    return System(
        name=short_name(code.name),
        title=says[0] if says else f"`{stage.name}` of {code.main.inside}",
        reference="none",
        stages=(stage,),
        open_source=open_nothing,
        presets={"default": lambda: {stage.name: config_type.model_validate({})}},
        learns_from="nothing",
        code=code,
    )


def _with_code(stage: Stage[Any], code: Code) -> Stage[Any]:
    """A stage whose output also depends on the file that defines it: nobody raises versions while trying things out."""
    module = sys.modules.get(type(stage).__module__)
    if getattr(module, "__file__", None) not in {one.file for one in code.modules}:
        return stage
    known = type(stage)

    def identity(self: Any, *what: Any, **named: Any) -> dict[str, Any]:
        return {**known.identity(self, *what, **named), "code": code.digest}

    bound = copy.copy(stage)
    bound.__class__ = type(known.__name__, (known,), {"identity": identity, "__module__": known.__module__})
    return bound
