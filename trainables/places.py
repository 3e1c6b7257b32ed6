"""Where in a user's own code something went wrong, for messages that name it."""

from __future__ import annotations

import inspect
import sys
import traceback
from contextlib import suppress


def place_of(error: BaseException) -> str | None:
    """Where an exception comes from in code that a user can mend: file and line of the innermost frame that is neither Python's, an installed package's nor flowsweep's own."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(frame.filename)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else None


def _is_users(file: str) -> bool:
    if file.startswith("<") or "site-packages" in file or "dist-packages" in file:
        return False
    here = __file__.rpartition("trainables")[0]
    rooms = tuple(f"{here}{room}/" for room in ("platform", "trainables", "search_spaces", "cluster"))
    return not file.startswith((sys.base_prefix, *rooms))


def place_of_class(kind: type) -> str:
    """File and line where a class is written, to begin a sentence with; empty where that is not known."""
    with suppress(OSError, TypeError):
        return f"{inspect.getsourcefile(kind)}, line {inspect.getsourcelines(kind)[1]}: "
    return ""
