"""JSON that any reader can parse and that still keeps NaN and the infinities.

Standard JSON has no word for them and Python's own ``NaN`` breaks other readers, so they are written as an
object with one key: ``{"$float": "nan"}``, ``{"$float": "inf"}``, ``{"$float": "-inf"}``. Everything else is
plain JSON. Tuples come back as lists, NumPy scalars and arrays as Python numbers and lists, paths as text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

MARK = "$float"
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def dumps(value: Any) -> str:
    """One line of JSON text.

    Raises:
        TypeError: the value holds something JSON cannot say.
        ValueError: a mapping uses the reserved key ``$float``.
    """
    try:
        text = json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = None
    # Text without the mark needs no second look: that is nearly every value ever written.
    if text is not None and MARK not in text:
        return text
    return json.dumps(_marked(value), default=_plain, allow_nan=False, separators=(",", ":"))


def loads(text: str | bytes) -> Any:
    """The value :func:`dumps` wrote.

    Raises:
        ValueError: the text is not JSON.
    """
    if isinstance(text, bytes):
        text = text.decode()
    return (_MARKED if MARK in text else _PLAIN).decode(text)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")


def _marked(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {MARK: "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Mapping):
        if MARK in value:
            raise ValueError(f"the key {MARK!r} is reserved for non-finite numbers")
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_marked(item) for item in value]
    return _marked(_plain(value))


def _unmarked(value: dict[str, Any]) -> Any:
    return _WORDS[value[MARK]] if len(value) == 1 and MARK in value else value


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


# Made once: `json.loads` makes a decoder anew for every text when it is given hooks.
_PLAIN = json.JSONDecoder(parse_constant=_refuse)
_MARKED = json.JSONDecoder(object_hook=_unmarked, parse_constant=_refuse)
