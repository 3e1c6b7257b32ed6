"""What a client that cannot see the home asks a small job on the cluster: a sweep's events as they come, or the list.

The job's log is the answer: lines of JSON, which the client reads through Ray's own interface, with its token. An event is
sent without what no table shows; what a later event of the same history supersedes is left out. Nothing is written.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..platform.journal.events import (
    CheckpointsDropped,
    CheckpointsOverBudget,
    Entry,
    Recovered,
    SessionBegan,
    StudyRenewed,
    SweepEnded,
    TrialStopped,
)
from ..platform.journal.journal import tail, writer_of
from ..platform.paths import Home, SweepPaths
from ..trainables.events import Checkpointed, Produced, Report, StageComputed
from ..trainables.lossless_json import dumps
from .entry import FAILED

MARK = "\x1e"
"""Stands before every line that is an answer (the record separator of RFC 7464); others are Ray's own."""
LIFE_S = 900.0
"""How long one relay runs. A client that goes on watching asks for another; one that was killed is not waited for."""
POLL_S = 0.5
ALONE_S = 5.0
"""How long nobody may write a record that has not ended before the sweep counts as left by its driver."""
UNSHOWN = (
    Checkpointed, CheckpointsDropped, CheckpointsOverBudget, Produced, Recovered, StudyRenewed, TrialStopped,
)  # fmt: skip
LEFT_OUT = frozenset({"episodes", "configs", "request", "plan", "versions", "code", "cpu_s", "wall_s"})


def relay(arguments: Sequence[str]) -> int:
    """Print a sweep's events from a given one on, until it is over or this relay's time is."""
    given = _parser().parse_args(arguments)
    paths = Home.default().sweep(given.sweep)
    deadline = time.monotonic() + given.patience_s
    while not paths.journal.exists():
        if time.monotonic() > deadline:
            print(f"{FAILED}no sweep of this name is on record there.", file=sys.stderr, flush=True)
            return 2
        time.sleep(POLL_S)
    for said in answers(paths, given.after, LIFE_S):
        print(f"{MARK}{dumps(said)}", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("sweep")
    parser.add_argument("--after", type=int, default=-1)
    parser.add_argument("--patience-s", type=float, default=0.0)
    return parser


def tell_sweeps() -> int:
    """Print every sweep on record here, as `flowsweep list --json` has them."""
    from ..platform.record.results import list_sweeps

    print(f"{MARK}{json.dumps([asdict(one) for one in list_sweeps(Home.default())])}", flush=True)
    return 0


def answers(paths: SweepPaths, after: int, life_s: float) -> Iterator[dict[str, Any]]:
    """What a relay says: ``{"entry": ...}`` each, and ``{"mark": ...}``.

    Marks: ``now`` once all that had happened is told; in the end ``over``, ``left`` (by its driver) or ``more`` (ask again).
    """
    deadline, told = time.monotonic() + life_s, False
    for entries, end in batches(paths):
        for entry in shortened(entry for entry in entries if entry.seq > after):
            yield {"entry": entry.model_dump(exclude_unset=True)}
        if not entries and not told:
            told = True
            yield {"mark": "now"}
        if end or time.monotonic() > deadline:
            yield {"mark": end or "more"}
            return


def batches(paths: SweepPaths, poll_s: float = POLL_S) -> Iterator[tuple[list[Entry], str]]:
    """The record as it grows, and after all that is there: empty while it is written, else ``over`` or ``left``."""
    position, over, alone_since = 0, False, None
    while True:
        entries, position = tail(paths.journal, position)
        for entry in entries:
            over = isinstance(entry.event, SweepEnded) or (over and not isinstance(entry.event, SessionBegan))
        if entries:
            yield entries, ""
            continue
        alone = writer_of(paths.journal) is None
        alone_since = (alone_since or time.monotonic()) if alone else None
        waited_s = time.monotonic() - alone_since if alone_since else 0.0
        yield [], "over" if alone and over else "left" if waited_s > ALONE_S else ""
        time.sleep(poll_s)


def shortened(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield what a table needs of some consecutive entries."""
    kept = [entry for entry in entries if not isinstance(entry.event, UNSHOWN)]
    newest = {_series(entry): entry.seq for entry in kept if isinstance(entry.event, Report)}
    for entry in kept:
        event = entry.event
        if isinstance(event, Report) and newest[_series(entry)] != entry.seq:
            continue
        if not isinstance(event, StageComputed):
            told = {name: getattr(event, name) for name in event.model_fields_set - LEFT_OUT}
            event = type(event).model_construct(**{**told, "kind": event.kind})  # type: ignore[arg-type]
        yield Entry.model_construct(seq=entry.seq, time=entry.time, trial=entry.trial, event=event)


def _series(entry: Entry) -> tuple:
    report = entry.event
    assert isinstance(report, Report)
    return entry.trial, report.kind, report.stage, report.seeds
