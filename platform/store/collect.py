"""What may be deleted, and in which order: the rule behind `flowsweep gc`, free of any disk.

Everything on disk that could go is an :class:`Item`. What something alive still needs is marked by whoever looked
(``needed``), and the rule never drops it, nor what a kept stage output was computed from. Of the rest:

1. what killed writers left behind goes once it is a day old, and so do local copies of an object store's outputs
   that nobody has read for a day;
2. of a trial that is over, every checkpoint but the last of its stage goes;
3. unused stage outputs go only as far as a limit asks: the least recently used day first, and within a day what is
   cheapest to compute again per byte it frees.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..errors import UserError

HOUR_S, DAY_S = 3_600.0, 86_400.0
LEFTOVER_IDLE_S = DAY_S
"""A file aside that nobody has written to for so long has no writer any more."""

Kind = Literal["leftover", "copy", "checkpoint", "artifact"]

_BYTES = {unit: 1024**power for power, unit in enumerate(("b", "kib", "mib", "gib", "tib"))}
_SECONDS = {"m": 60.0, "h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}


@dataclass(frozen=True)
class Item:
    """One thing on disk that could be deleted.

    Attributes:
        name: unique; the key of a stage output, else the path within the home.
        what: how to call it to a person.
        idle_s: since anyone last used or wrote it.
        needed: why it must stay; empty when nothing alive needs it.
        cpu_s: process time to compute it again; stage outputs only.
        upstream: names of the stage outputs it was computed from.
    """

    kind: Kind
    name: str
    what: str
    bytes: int
    idle_s: float
    needed: str = ""
    cpu_s: float = 0.0
    upstream: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """How far stage outputs nobody needs are deleted; neither limit, and all of them stay.

    Attributes:
        budget_bytes: delete until all items together take no more than this.
        older_than_s: delete only what has been idle for so long.
        grace_s: what was used more recently stays whatever the limits: its user may not be on record yet.
    """

    budget_bytes: int | None = None
    older_than_s: float | None = None
    grace_s: float = HOUR_S

    @property
    def asked(self) -> bool:
        """Whether any stage output is to be deleted."""
        return self.budget_bytes is not None or self.older_than_s is not None

    @property
    def idle_s(self) -> float:
        """How long a stage output must have been idle to be deleted."""
        return max(self.grace_s, self.older_than_s or 0.0)


@dataclass(frozen=True)
class Decision:
    """Whether an item stays, and why."""

    item: Item
    action: Literal["keep", "drop"]
    reason: str


def decide(items: Sequence[Item], limits: Limits) -> list[Decision]:
    """What to do with every item: first what goes, in the order of deletion, then what stays."""
    others = [
        _decide_other(item)
        for kind in ("leftover", "copy", "checkpoint")
        for item in items
        if item.kind == kind
    ]
    artifacts = {item.name: item for item in items if item.kind == "artifact"}
    freed = sum(decision.item.bytes for decision in others if decision.action == "drop")
    left = sum(item.bytes for item in items) - freed
    blocked = {name: reason for name, item in artifacts.items() if (reason := _blocked(item, limits))}
    dropped = _drop_artifacts(artifacts, blocked, left, limits)
    gone = {decision.item.name for decision in dropped}
    kept_by = _kept_by(artifacts, gone)
    kept = [
        Decision(item, "keep", blocked.get(name) or kept_by.get(name) or "fits the budget")
        for name, item in artifacts.items()
        if name not in gone
    ]
    every = [*others, *dropped, *kept]
    return sorted(every, key=lambda decision: decision.action == "keep")


def _decide_other(item: Item) -> Decision:
    if item.needed:
        return Decision(item, "keep", item.needed)
    if item.kind == "checkpoint":
        return Decision(item, "drop", "its trial is over and a later checkpoint is kept")
    if item.kind == "copy":
        if item.idle_s < LEFTOVER_IDLE_S:
            return Decision(item, "keep", "read within a day")
        return Decision(item, "drop", f"unread for {age(item.idle_s)}; the store has the original")
    if item.idle_s < LEFTOVER_IDLE_S:
        return Decision(item, "keep", "its writer may be alive: touched within a day")
    return Decision(item, "drop", f"left by a killed process {age(item.idle_s)} ago")


def _blocked(item: Item, limits: Limits) -> str:
    if item.needed:
        return item.needed
    if not limits.asked:
        return "no limit asks for it"
    if item.idle_s < limits.idle_s:
        return f"used {age(item.idle_s)} ago, within {age(limits.idle_s)}"
    return ""


def _drop_artifacts(
    artifacts: Mapping[str, Item], blocked: Mapping[str, str], left: int, limits: Limits
) -> list[Decision]:
    """What goes, in order; an output goes only after everything computed from it has gone."""
    dependants = Counter(name for item in artifacts.values() for name in item.upstream)
    ready = [
        _Ready(_rank(item), item)
        for name, item in artifacts.items()
        if name not in blocked and not dependants[name]
    ]
    heapq.heapify(ready)
    dropped: list[Decision] = []
    while ready and (limits.budget_bytes is None or left > limits.budget_bytes):
        item = heapq.heappop(ready).item
        left -= item.bytes
        dropped.append(Decision(item, "drop", f"nobody needs it; last used {age(item.idle_s)} ago"))
        for name in item.upstream:
            dependants[name] -= 1
            if name in artifacts and name not in blocked and not dependants[name]:
                heapq.heappush(ready, _Ready(_rank(artifacts[name]), artifacts[name]))
    return dropped


@dataclass(order=True)
class _Ready:
    rank: tuple[float, float, str]
    item: Item = field(compare=False)


def _rank(item: Item) -> tuple[float, float, str]:
    """Smaller goes first: idle for more whole days, then cheaper to compute again per byte."""
    return -(item.idle_s // DAY_S), item.cpu_s / max(item.bytes, 1), item.name


def _kept_by(artifacts: Mapping[str, Item], dropped: set[str]) -> dict[str, str]:
    return {
        name: f"{item.what}, which stays, was computed from it"
        for item in artifacts.values()
        if item.name not in dropped
        for name in item.upstream
    }


def age(seconds: float) -> str:
    """How long ago, in one unit."""
    for name, unit_s in (("d", DAY_S), ("h", HOUR_S), ("min", 60.0)):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def parse_budget(text: str) -> int:
    """Bytes from ``20GiB``.

    Raises:
        UserError: it is no size with a unit.
    """
    examples = "--budget 20GiB, --budget 500MiB; --budget 0B keeps only what is needed."
    return int(_quantity(text, _BYTES, "--budget", "a size with a unit: B, KiB, MiB, GiB or TiB", examples))


def parse_age(text: str) -> float:
    """Seconds from ``30d``.

    Raises:
        UserError: it is no time with a unit.
    """
    examples = "--older-than 30d, --older-than 12h."
    return _quantity(text, _SECONDS, "--older-than", "a time with a unit: m (minutes), h, d or w", examples)


def _quantity(text: str, units: Mapping[str, float], key: str, rule: str, examples: str) -> float:
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]+)?)\s*([a-z]+)", text.strip().lower())
    if not match or match[2] not in units:
        raise UserError(f"must be {rule}", key=key, value=text, fix=f"Examples: {examples}")
    return float(match[1]) * units[match[2]]


def total_bytes(decisions: Iterable[Decision], action: Literal["keep", "drop"]) -> int:
    """What all items with one decision take together."""
    return sum(decision.item.bytes for decision in decisions if decision.action == action)
