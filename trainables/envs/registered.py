"""Environments by name: only those that installed packages have registered, with arguments that are plain values.

The name and the arguments come from a dataset, a trace or an export, which may be anybody's. None of them may lead to
a module, a file or a function: an entry point in a dataset is read as a text and never called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from ..data.metadata import OGBENCH_NAME
from ..data.simulators import gymnasium_with_robotics
from ..errors import UserError
from .allowed import import_allowed

KEY = "environment"
_OURS = frozenset({"render_mode", "max_episode_steps", "disable_env_checker"})
"""Arguments that flowsweep sets itself, whatever a dataset says."""
_REACHES_OUT = re.compile(
    r"(?:^|_)(?:files?|paths?|dir|directory|folder|url|uri|entry_point|wrappers?|module|callable|function|script|plugin"
    r"|env|env_id|make_kwargs)(?:_|$)"
)
"""Arguments that name a file, a module or another environment."""
_LEADS_OUT = re.compile(
    r"[/\\]|^\s*[A-Za-z_][\w.]*:[A-Za-z_]|\.(?:xml|mjb|urdf|py|so|pkl|json|ya?ml)$", re.IGNORECASE
)
"""Texts that could be a path or the place of a function (``module:name``)."""
_MOST_VALUES, _LONGEST = 20_000, 200


def gymnasium_with_environments() -> Any:
    """gymnasium, with the environments registered of gymnasium-robotics, of flowsweep, and of packages the user has allowed."""
    from . import tolerance

    gymnasium = gymnasium_with_robotics()
    tolerance.register()
    import_allowed()
    return gymnasium


def registered_spec(name: str) -> Any:
    """What gymnasium has registered under this very name.

    Raises:
        UserError: the name says which module to import, or nothing is registered under it.
    """
    if ":" in name:
        raise UserError(
            "an environment is named by its id alone, without a module to import", key=KEY, value=name,
            fix="Register it where it is defined; a package of systems may do so when it is imported.",
        )  # fmt: skip
    registry = gymnasium_with_environments().envs.registry
    if name not in registry:
        raise UserError(
            "is no environment of an installed package", key=KEY, value=name,
            fix=f"{_alike(name, registry)}Install the package that registers it; where it does so only when it is "
            "imported, allow that: `flowsweep environments allow PACKAGE`.",
        )  # fmt: skip
    return registry[name]


def _alike(name: str, known: Iterable[str]) -> str:
    """Another version or a misspelling, not merely another environment of the family."""
    found = get_close_matches(name, list(known), n=1, cutoff=0.9)
    return f"Did you mean `{found[0]}`? " if found else ""


def checked_ogbench_name(name: str) -> str:
    """A name that OGBench may be asked for; from others it would make names with a module to import."""
    if not OGBENCH_NAME.fullmatch(name):
        raise UserError(
            "is not the name of an OGBench dataset", key=KEY, value=name,
            fix="Such names look like `cube-single-play-singletask-task2-v0`.",
        )  # fmt: skip
    return name


def plain_arguments(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of an environment that may be passed on, without those that flowsweep sets itself.

    Raises:
        UserError: one names a file, a module or another environment, or is no plain value.
    """
    passed = {key: value for key, value in arguments.items() if key not in _OURS}
    budget = [_MOST_VALUES]
    for key, value in passed.items():
        if not key.isidentifier() or _REACHES_OUT.search(key):
            raise _refused(name, key, "names a file, a module or another environment")
        _check_value(name, key, value, budget)
    return passed


def _check_value(name: str, key: str, value: Any, budget: list[int]) -> None:
    budget[0] -= 1
    if budget[0] < 0:
        raise _refused(name, key, f"holds more than {_MOST_VALUES:,} values")
    if isinstance(value, str):
        if len(value) > _LONGEST or _LEADS_OUT.search(value):
            raise _refused(name, key, f"could be a file or a function ({value[:60]!a})")
    elif isinstance(value, Mapping):
        for inner, part in value.items():
            _check_value(name, key, inner, budget)
            _check_value(name, key, part, budget)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_value(name, key, part, budget)
    elif not (value is None or isinstance(value, bool | int | float)):
        raise _refused(name, key, f"is a {type(value).__name__}")


def _refused(name: str, key: str, why: str) -> UserError:
    return UserError(
        f"its argument `{ascii(key)[1:-1]}` {why}, and such are not taken from a dataset", key=KEY, value=name,
        fix="Register a variant of the environment under an id of its own, and name that: "
        "`flowsweep data attach-environment DATASET ID`.",
    )  # fmt: skip
