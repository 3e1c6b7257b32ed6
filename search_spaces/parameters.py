"""Typed search parameters: a range, a scale, and the reason for both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_serializer, model_validator

from ..trainables.base import Source
from ..trainables.config import FrozenConfig
from ..trainables.errors import UserError, nearest


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("must be text, a number, `true` or `false`")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Value = Annotated[str | int | float | bool, BeforeValidator(_scalar)]


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are one: 1 is 1.0, and `true` is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


class _Searched(FrozenConfig):
    when: Mapping[str, Value | tuple[Value, ...]] = {}
    """Search it only where other parameters have these values: `{refine.critic: twin}`, or one of several `[a, b]`."""
    reason: str = ""
    """Why this range, in one line; shown by `plan` and in reports."""

    @model_serializer(mode="wrap")
    def _without_no_condition(self, handler: Any) -> dict[str, Any]:
        written = handler(self)
        return written if written.get("when") else {k: v for k, v in written.items() if k != "when"}


class _Range(_Searched):
    log: bool = False
    """Draw uniformly in the logarithm; both ends must then be above zero."""

    @model_validator(mode="after")
    def _ordered(self):
        low, high = self.low, self.high  # type: ignore[attr-defined]
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"low {low:g} and high {high:g} must both be finite")
        if low >= high:
            raise ValueError(f"low {low:g} must be below high {high:g}; swap or widen them")
        if self.log and low <= 0:
            raise ValueError(f"low {low:g} must be above 0 on a log scale; raise it or set log: false")
        return self


class Real(_Range):
    """A real number between ``low`` and ``high``."""

    type: Literal["real"] = "real"
    low: float
    """Smallest value."""
    high: float
    """Largest value."""


class Integer(_Range):
    """A whole number between ``low`` and ``high``, both included."""

    type: Literal["integer"] = "integer"
    low: int
    """Smallest value."""
    high: int
    """Largest value, included."""


class Choice(_Searched):
    """One of a few named values."""

    type: Literal["choice"] = "choice"
    values: tuple[Value, ...] = Field(min_length=2)
    """What to choose from, each once."""

    @model_validator(mode="after")
    def _each_once(self):
        for index, value in enumerate(self.values):
            for before in self.values[:index]:
                if same_value(value, before):
                    shown = f"{before!r}" if repr(value) == repr(before) else f"{before!r} and {value!r}"
                    raise ValueError(f"values hold the same value twice ({shown}); list each once")
        return self


def _kind(value: Any) -> str:
    """`type` may be left out: `values` makes a choice, anything else is a real range."""
    if not isinstance(value, Mapping):
        return getattr(value, "type", "real")
    return value.get("type") or ("choice" if "values" in value else "real")


Parameter = Annotated[
    Annotated[Real, Tag("real")] | Annotated[Integer, Tag("integer")] | Annotated[Choice, Tag("choice")],
    Discriminator(_kind),
]

Space = Mapping[str, Real | Integer | Choice]
"""Parameters by the stage field they set (``refine.kl_radius``)."""


Proposal = Callable[[Any], Space]
"""A space made from what is learnt from: given the system's opened source. The same source always gives the same
space; a UserError says why none can be made."""


@cache
def _registered(system: str) -> dict[str, Space | Proposal]:
    found = {point.name: point for point in entry_points(group="flowsweep.spaces")}
    return dict(found[system].load()) if system in found else {}


def is_proposed(system: str, name: str) -> bool:
    """Whether a named space is made from the data, so that it is known only once they are open.

    Raises:
        UserError: the system has no space of that name.
    """
    return callable(_found(system, name))


def named_space(system: str, name: str, source: Source | None = None) -> dict[str, Any]:
    """A space that ships with a system (``default``, ``kl_radius_only``, ``auto``).

    Args:
        source: what is learnt from, opened; only spaces that are made from it need it.

    Raises:
        UserError: the system has no space of that name, or it is made from the data and these do not allow it.
    """
    space = _found(system, name)
    if not callable(space):
        return dict(space)
    if source is None:
        raise UserError(
            "is made from the data, which are not open here",
            key="space",
            value=name,
            fix="Plan the sweep, which opens them, or write the ranges out.",
        )
    return dict(space(source))


def _found(system: str, name: str) -> Space | Proposal:
    spaces = _registered(system)
    if name not in spaces:
        raise UserError(
            f"system `{system}` has no such search space", key="space", value=name, fix=nearest(name, spaces)
        )
    return spaces[name]
