"""Numbers, times and durations as a reader wants them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

NOTHING = "–"


def number(value: Any) -> str:
    """Three significant digits; what is not a number is shown as such."""
    if value is None:
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def span(low: float, high: float) -> str:
    """An interval; a dash where it has no width."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low) and math.isfinite(high) else NOTHING


def times(factor: float) -> str:
    """`3.2×`; a dash where it is not known."""
    return f"{factor:.2g}×" if math.isfinite(factor) else NOTHING


def listing(values: Iterable[Any]) -> str:
    """`1, 2, 3`; a dash where there is none."""
    return ", ".join(map(str, values)) or NOTHING


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def moment(unix_s: float | None) -> str:
    """Date and time in UTC."""
    if unix_s is None:
        return NOTHING
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
