"""What went wrong on the way and was got over, as a sweep's record tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .journal import Fact


@dataclass(frozen=True)
class Incident:
    """One of them.

    Attributes:
        seq: its place in the journal.
        time: unix seconds.
        kind: of the fact.
        what: in words.
        count, bytes: of dropped checkpoints.
    """

    seq: int
    time: float
    kind: str
    trial: str | None
    what: str
    count: int = 1
    bytes: int = 0


def incidents(facts: Iterable[Fact]) -> list[Incident]:
    """Every incident on record, in order."""
    return [
        Incident(
            fact.seq,
            fact.time,
            fact.kind,
            fact.trial,
            what,
            len(fact.data.get("paths", (0,))),
            fact.data.get("bytes", 0),
        )
        for fact in facts
        if fact.kind in _WORDS and (what := _WORDS[fact.kind](fact.data))
    ]


def summed(found: Iterable[Incident]) -> list[Incident]:
    """For a person: what the budget for checkpoints dropped as one line, the rest as it is."""
    found = list(found)
    drops = [incident for incident in found if incident.kind == "checkpoints_dropped"]
    if len(drops) < 2:
        return found
    number, size = sum(drop.count for drop in drops), sum(drop.bytes for drop in drops)
    trials = len({drop.trial for drop in drops})
    reason = drops[-1].what.rpartition(": ")[2]
    what = f"{number} checkpoints of {trials} trials dropped, {size:,} bytes: {reason}"
    rest = [incident for incident in found if incident.kind != "checkpoints_dropped"]
    return [*rest, replace(drops[-1], trial=None, what=what, count=number, bytes=size)]


def _damaged(data: Mapping[str, Any]) -> str:
    resumed = data["resumed_step"]
    went_on = f"went on from step {resumed:,}" if resumed else "began anew"
    return f"the checkpoint of {data['stage']} at step {data['step']:,} was damaged ({data['reason']}); {went_on}"


def _skipped(data: Mapping[str, Any]) -> str:
    return f"no checkpoint of {data['stage']} at step {data['step']:,}: {data['reason']}; the trial went on"


def _dropped(data: Mapping[str, Any]) -> str:
    number = len(data["paths"])
    return f"{number} checkpoint{'s' * (number != 1)} dropped, {data['bytes']:,} bytes: {data['reason']}"


def _computed(data: Mapping[str, Any]) -> str:
    return (
        f"{data['stage']} seed {data['seed']} computed again: {data['reason']}" if data.get("reason") else ""
    )


_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "trial_retried": lambda data: f"taken up again after {data['class'].replace('_', ' ')}: {data['reason']}",
    "recovered": lambda data: f"a torn last line of the record ({data['dropped_bytes']} bytes) was dropped",
    "checkpoint_damaged": _damaged,
    "checkpoint_skipped": _skipped,
    "checkpoints_dropped": _dropped,
    "checkpoints_over_budget": lambda data: f"over the budget: {data['reason']}",
    "stage_computed": _computed,
}
