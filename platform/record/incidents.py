"""What went wrong on the way and was got over, as a sweep's record tells it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ...trainables.events import CheckpointDamaged, CheckpointSkipped, Event, StageComputed
from ..journal.events import CheckpointsDropped, CheckpointsOverBudget, Entry, Recovered, TrialRetried


@dataclass(frozen=True)
class Incident:
    """One of them.

    Attributes:
        seq: its place in the journal.
        time: unix seconds.
        kind: of the event.
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


def incidents(entries: Iterable[Entry]) -> list[Incident]:
    """Return every incident on record, in order."""
    found = []
    for entry in entries:
        if what := _words(entry.event):
            count = len(getattr(entry.event, "paths", (0,)))
            size = getattr(entry.event, "bytes", 0)
            found.append(Incident(entry.seq, entry.time, entry.event.kind, entry.trial, what, count, size))
    return found


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


def _words(event: Event) -> str:
    """Return what an event says went wrong; empty where nothing did."""
    match event:
        case TrialRetried():
            return f"resumed after {event.failure.replace('_', ' ')}: {event.reason}"
        case Recovered():
            return f"a torn last line of the record ({event.dropped_bytes} bytes) was dropped"
        case CheckpointDamaged():
            went_on = f"resumed from step {event.resumed_step:,}" if event.resumed_step else "started over"
            return f"the checkpoint of {event.stage} at step {event.step:,} was damaged ({event.reason}); {went_on}"
        case CheckpointSkipped():
            return f"no checkpoint of {event.stage} at step {event.step:,}: {event.reason}; the trial went on"
        case CheckpointsDropped():
            number = len(event.paths)
            return f"{number} checkpoint{'s' * (number != 1)} dropped, {event.bytes:,} bytes: {event.reason}"
        case CheckpointsOverBudget():
            return f"over the budget: {event.reason}"
        case StageComputed(reason=str(reason)) if reason:
            return f"{event.stage} seed {event.seed} computed again: {reason}"
    return ""
