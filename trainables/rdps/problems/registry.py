"""Every problem by its name. Free of torch until one is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from ...errors import UserError, nearest

if TYPE_CHECKING:
    from .problem import Problem


@dataclass(frozen=True)
class Entry:
    """A problem that can be opened.

    Attributes:
        title: one line.
        module: where it is built, beside this file.
        arguments: what the module's ``build`` is given after the name.
    """

    title: str
    module: str
    arguments: tuple[str, ...]

    def open(self, name: str) -> Problem:
        """The problem under its registered name, its operator checked."""
        return open_problem(name)

    def build(self, name: str) -> Problem:
        """The problem, its arrays made."""
        builder: Callable[..., Problem] = import_module(f".{self.module}", __package__).build
        return builder(name, *self.arguments)


PROBLEMS: dict[str, Entry] = {
    "mixture-cs": Entry("24 random projections of 16 unknowns under a Gaussian mixture", "mixture", ("cs",)),
    "mixture-blur": Entry("a blurred signal of 16 unknowns under a Gaussian mixture", "mixture", ("blur",)),
    "mixture-inpaint": Entry("12 of 16 unknowns under a Gaussian mixture", "mixture", ("inpaint",)),
    "digits-inpaint": Entry("38 of 64 pixels of a handwritten digit", "digits", ("inpaint",)),
    "digits-blur": Entry("a blurred handwritten digit", "digits", ("blur",)),
    "digits-sr": Entry("a handwritten digit at half its resolution", "digits", ("sr",)),
    "digits-cs": Entry("40 random projections of a handwritten digit", "digits", ("cs",)),
    "digits-scatter": Entry(
        "a handwritten digit seen by scattered waves, Born approximation", "digits", ("scatter",)
    ),
    "darcy-1d": Entry("permeability from pressures, one-dimensional Darcy flow (nonlinear)", "darcy", ()),
}


def check_name(name: str) -> Entry:
    """The entry of that name.

    Raises:
        UserError: there is no such problem.
    """
    if name not in PROBLEMS:
        raise UserError(
            "is no problem that is known here",
            key="problem",
            value=name,
            fix=f"{nearest(name, PROBLEMS)} `flowsweep problems list` shows all.",
        )
    return PROBLEMS[name]


@cache
def open_problem(name: str) -> Problem:
    """The problem of that name, its operator checked; opened once per process.

    Raises:
        UserError: there is no such problem, or its operator's adjoint is not its adjoint.
    """
    problem = check_name(name).build(name)
    problem.check()
    return problem
