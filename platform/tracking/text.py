"""Events in the words and within the limits of MLflow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..journal.events import Entry

_UNFIT = re.compile(r"[^\w\-./ :]", re.ASCII)
MAX_KEY, MAX_PARAM, MAX_TAG = 250, 6000, 8000


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names (``refine.kl_radius``)."""
    pairs: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        pairs |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return pairs


def unix_ms(entry: Entry) -> int:
    """Return when it happened."""
    return int(1000 * entry.time)


def fitted(key: str) -> str:
    """A name MLflow takes."""
    return _UNFIT.sub("_", key)[:MAX_KEY]


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def as_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """What there is to say, as tags."""
    return {key: as_text(value)[:MAX_TAG] for key, value in values.items() if value not in (None, "")}
