"""Which code this process may run, by the name a sweep uses: only what a person has named to it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ..errors import UserError
from .code import Code

if TYPE_CHECKING:
    from ..base import System

_known: dict[str, Code] = {}


def declare(name: str, code: Code | None) -> None:
    """From now on ``name`` stands for this code; None leaves it as it is."""
    if code is not None and _known.get(name) != code:
        _known[name] = code


def declared(name: str) -> Code | None:
    """The code that a person has named so in this process, if any."""
    return _known.get(name)


def load_named(name: str) -> System:
    """The system that a name stands for.

    Raises:
        UserError: nobody has named the code in this process, or it cannot be loaded.
    """
    code = _known.get(name)
    if code is None:
        raise UserError(
            "is code of a file that nobody has named here, and records name no code", key="system", value=name,
            fix=f"Name the file yourself: `--code PATH/{name.rpartition('/')[2]}`.",
        )  # fmt: skip
    return _loaded(code)


@cache
def _loaded(code: Code) -> System:
    from .system import system_of  # needs what a system is, which asks here for systems by name

    return system_of(code)
