"""Whether two sweeps of one name are the same sweep, and what differs where they are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..platform.errors import UserError
from ..platform.paths import SweepPaths
from ..platform.sweep.spec import SweepSpec, read_spec

MOST = 6
"""Differences told; of more, how many there are."""


def recorded_difference(spec: SweepSpec, paths: SweepPaths) -> list[str] | None:
    """What a sweep on record says otherwise than ``spec``, each in words; None when none is on record.

    Args:
        spec: the sweep asked for, its space written out where it can be without the data.
    """
    if not paths.spec.exists() or not paths.journal.exists() or paths.journal.stat().st_size == 0:
        return None
    try:
        then = read_spec(paths.spec).model_dump(mode="json")
    except UserError as error:
        return [f"what is on record cannot be read: {error}"]
    now = spec.model_dump(mode="json")
    if isinstance(now["space"], str):  # made from the data, which are not open yet
        then, now = ({**one, "space": None} for one in (then, now))
    return differences(then, now)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two sweeps say differently, as ``search.trials: 8 there, 16 here``."""
    flat_then, flat_now = dict(_flat(then)), dict(_flat(now))
    return [
        f"{key}: {_word(flat_then, key)} there, {_word(flat_now, key)} here"
        for key in sorted({**flat_then, **flat_now})
        if flat_then.get(key) != flat_now.get(key)
    ]


def difference_text(found: Sequence[str]) -> str:
    """The differences in one line."""
    more = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
    return "; ".join(found[:MOST]) + more


def _flat(value: Mapping[str, Any], above: str = ""):
    for key, item in value.items():
        name = f"{above}{key}"
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{name}.")
        else:
            yield name, list(item) if isinstance(item, tuple) else item


def _word(flat: Mapping[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "nothing"
