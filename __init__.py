"""flowsweep: hyperparameter sweeps for flow and diffusion policies.

What a program needs is here: :func:`run`, :func:`plan`, :func:`load`, :func:`resume` and :func:`sweeps`; a sweep is a file,
a mapping or a :class:`SweepSpec`. Names are loaded when they are first used, so that the import itself costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from . import testing
    from .platform.api import Best, Sweep, load, plan, resume, run, sweeps, trainable
    from .platform.errors import Refused, Unreachable, UserError
    from .platform.sweep.search_spec import Constraint, Goal, Objective, Search
    from .platform.sweep.spec import (
        Confirm,
        Evaluation,
        Resources,
        Seeds,
        SweepSpec,
        Tracking,
    )
    from .platform.sweep.stop_spec import Budget, Stop
    from .search_spaces.parameters import Choice, Integer, Real
    from .trainables.exported import load_learner, load_outputs, load_policy

_PLACES = {
    "platform.api": ("Best", "Sweep", "load", "plan", "resume", "run", "sweeps", "trainable"),
    "platform.errors": ("Refused", "Unreachable", "UserError"),
    "platform.sweep.search_spec": ("Constraint", "Goal", "Objective", "Search"),
    "platform.sweep.spec": ("Confirm", "Evaluation", "Resources", "Seeds", "SweepSpec", "Tracking"),
    "platform.sweep.stop_spec": ("Budget", "Stop"),
    "search_spaces.parameters": ("Choice", "Integer", "Real"),
    "trainables.exported": ("load_learner", "load_outputs", "load_policy"),
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "Best",
    "Budget",
    "Choice",
    "Confirm",
    "Constraint",
    "Evaluation",
    "Goal",
    "Integer",
    "Objective",
    "Real",
    "Refused",
    "Resources",
    "Search",
    "Seeds",
    "Stop",
    "Sweep",
    "SweepSpec",
    "Tracking",
    "Unreachable",
    "UserError",
    "load",
    "load_learner",
    "load_outputs",
    "load_policy",
    "plan",
    "resume",
    "run",
    "sweeps",
    "testing",
    "trainable",
]


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module(f".{name}", __name__)
    if name in _WHERE:
        found = getattr(import_module(f".{_WHERE[name]}", __name__), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
