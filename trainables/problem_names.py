"""Problems that installed packages register, by name, so that commands can list and draw them.

A package registers a mapping of names to entries under the entry point group ``flowsweep.problems``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from .errors import UserError, nearest


class DrawnSource(Protocol):
    """A problem that has been opened."""

    @property
    def fingerprint(self) -> str: ...

    def describe(self) -> Mapping[str, Any]:
        """Sizes and what is known, as plain JSON."""
        ...

    def draw(self, path: Path, *, seed: int, share: float) -> Path:
        """Picture a few truths with their data, clean and contaminated."""
        ...


class ProblemEntry(Protocol):
    """A problem that can be opened."""

    @property
    def title(self) -> str: ...

    def open(self, name: str) -> DrawnSource:
        """Open it under the name it is registered by."""
        ...


def problem_entries() -> dict[str, tuple[str, ProblemEntry]]:
    """Every registered problem: its name to the system that takes it and its entry."""
    return {
        name: (point.name, entry)
        for point in entry_points(group="flowsweep.problems")
        for name, entry in point.load().items()
    }


def open_named_problem(name: str) -> DrawnSource:
    """The problem of that name, whichever system takes it.

    Raises:
        UserError: there is none.
    """
    known = problem_entries()
    if name not in known:
        raise UserError(
            "is no problem that is known here", key="problem", value=name, fix=nearest(name, known)
        )
    return known[name][1].open(name)
