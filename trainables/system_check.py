"""Whether what a package or a file offers as a system is one: found when it is loaded, told with file and line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .base import Stage, StageConfig, System
from .errors import UserError, UserErrors
from .places import place_of_class


def check_system(system: Any, where: str) -> System:
    """The same, if it is a system.

    Args:
        where: the system as its user knows it.

    Raises:
        UserErrors: everything that is wrong with it.
    """
    if not isinstance(system, System):
        raise UserError(
            f"is a {type(system).__name__} and no `System`", key="system", value=where,
            fix="Name an instance of `flowsweep.trainables.base.System`.",
        )  # fmt: skip
    if errors := [UserError(text, key="system", value=where, fix=fix) for text, fix in _wrong(system)]:
        raise UserErrors(errors)
    return system


def _wrong(system: System) -> Iterator[tuple[str, str]]:
    if not system.stages:
        yield "has no stages", "Give it at least one."
    for stage in system.stages:
        yield from _wrong_in(stage)
    named = {getattr(stage, "name", None) for stage in system.stages}
    if "default" not in system.presets:
        yield "has no preset `default`", "Add one: what a sweep does not say is taken from it."
    for name, preset in system.presets.items():
        try:
            configs = preset()
        except Exception as error:
            yield (
                f"preset `{name}` raises {type(error).__name__}: {error}",
                "Return a configuration for every stage.",
            )
            continue
        missing = sorted(str(stage) for stage in named - set(configs))
        if missing:
            yield (
                f"preset `{name}` has no configuration for {', '.join(missing)}",
                "Return one for every stage.",
            )


def _wrong_in(stage: Any) -> Iterator[tuple[str, str]]:
    place = place_of_class(type(stage))
    if not isinstance(stage, Stage):
        yield (
            f"{place}{type(stage).__name__} is no `Stage`",
            "Derive it from `flowsweep.trainables.base.Stage`.",
        )
        return
    wanted = {
        "name": (str, "text"),
        "metrics": (Mapping, "a mapping of every metric it reports to what it means"),
        "config_type": (type, "a class derived from `StageConfig`"),
    }
    for attribute, (kind, text) in wanted.items():
        value = getattr(stage, attribute, None)
        fits = isinstance(value, kind)
        if kind is type:
            fits = isinstance(value, type) and issubclass(value, StageConfig)
        if not fits:
            said = "has no" if value is None else f"has {value!r} as"
            yield f"{place}stage {type(stage).__name__} {said} `{attribute}`", f"It must be {text}."
