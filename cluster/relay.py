"""What a client that cannot see the home asks a small job on the cluster: a sweep's facts as they come, or the list.

The job's log is the answer: lines of JSON, which the client reads through Ray's own interface, with its token. A fact is
sent without what no table shows; what a later fact of the same history supersedes is left out. Nothing is written.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..platform.paths import Home, SweepPaths
from ..platform.record.journal import Fact, tail, writer_of
from ..trainables.lossless_json import dumps
from .entry import FAILED

MARK = "\x1e"
"""Stands before every line that is an answer (the record separator of RFC 7464); others are Ray's own."""
LIFE_S = 900.0
"""How long one relay runs. A client that goes on watching asks for another; one that was killed is not waited for."""
POLL_S = 0.5
ALONE_S = 5.0
"""How long nobody may write a record that has not ended before the sweep counts as left by its driver."""
UNSHOWN = frozenset(
    {
        "checkpoint",
        "checkpoints_dropped",
        "checkpoints_over_budget",
        "artifact",
        "recovered",
        "study_renewed",
    }
)
SUPERSEDED = frozenset({"progress", "evaluated"})
LEFT_OUT = frozenset({"episodes", "configs", "plan", "versions", "code", "source", "cpu_s", "wall_s"})


def relay(arguments: Sequence[str]) -> int:
    """Print a sweep's facts from a given one on, until it is over or this relay's time is."""
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
    """What a relay says: ``{"fact": ...}`` each, and ``{"mark": ...}``.

    Marks: ``now`` once all that had happened is told; in the end ``over``, ``left`` (by its driver) or ``more`` (ask again).
    """
    deadline, told = time.monotonic() + life_s, False
    for facts, end in batches(paths):
        for fact in shortened(fact for fact in facts if fact.seq > after):
            yield {"fact": asdict(fact)}
        if not facts and not told:
            told = True
            yield {"mark": "now"}
        if end or time.monotonic() > deadline:
            yield {"mark": end or "more"}
            return


def batches(paths: SweepPaths, poll_s: float = POLL_S) -> Iterator[tuple[list[Fact], str]]:
    """The record as it grows, and after all that is there: empty while it is written, else ``over`` or ``left``."""
    place, over, alone_since = 0, False, None
    while True:
        facts, place = tail(paths.journal, place)
        for fact in facts:
            over = fact.kind == "sweep_ended" or (
                over and fact.kind not in ("sweep_started", "sweep_resumed")
            )
        if facts:
            yield facts, ""
            continue
        alone = writer_of(paths.journal) is None
        alone_since = (alone_since or time.monotonic()) if alone else None
        waited_s = time.monotonic() - alone_since if alone_since else 0.0
        yield [], "over" if alone and over else "left" if waited_s > ALONE_S else ""
        time.sleep(poll_s)


def shortened(facts: Iterable[Fact]) -> Iterator[Fact]:
    """What a table needs of some consecutive facts."""
    kept = [
        fact for fact in facts if fact.kind not in UNSHOWN and not (fact.kind == "decision" and fact.trial)
    ]
    newest = {_series(fact): fact.seq for fact in kept if fact.kind in SUPERSEDED}
    for fact in kept:
        if fact.kind in SUPERSEDED and newest[_series(fact)] != fact.seq:
            continue
        data = {
            key: value
            for key, value in fact.data.items()
            if key not in LEFT_OUT or fact.kind == "stage_computed"
        }
        yield Fact(fact.seq, fact.time, fact.kind, fact.trial, data)


def _series(fact: Fact) -> tuple:
    return fact.trial, fact.kind, fact.data.get("stage"), tuple(fact.data.get("seeds", ()))
