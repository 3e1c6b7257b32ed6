"""Opening a problem for the system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .problems.registry import check_name, open_problem

if TYPE_CHECKING:
    from .problems.problem import Problem


def open_source(name: str) -> Problem:
    """The problem of that name.

    Raises:
        UserError: there is no such problem, or its operator is not what it says.
    """
    check_name(name)
    return open_problem(name)
