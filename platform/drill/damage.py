"""What is done to the files and the clock of a running sweep: locks, a full disk, damage, a torn record.

The functions are as those in :mod:`.drill_faults`.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from ...trainables.events import CheckpointDamaged, Checkpointed, Event, Progress, StageComputed
from ..journal.events import Recovered, TrialEnded
from .faults import SLOW
from .rig import SWEEP, Rig, Skipped, unless


def databases_locked(rig: Rig, rng: random.Random) -> list[str]:
    """Hold the study's and the tracker's SQLite files locked for twelve seconds, longer than either waits."""
    process = rig.run(stages__refine__pause_s=0.1)
    rig.until_events(process, 2, Progress, stage="refine")
    with _locked(rig.paths.root / "optuna.db"), _locked(rig.home.root / "mlflow.db"):
        rig.say("holding both databases locked")
        before = len(rig.entries())
        time.sleep(12)
        grown = len(rig.entries()) > before
    rig.ended(process, 0)
    return unless(grown, "nothing was recorded while the databases were locked")


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    connection = sqlite3.connect(database, timeout=60, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()


def disk_full(rig: Rig, rng: random.Random) -> list[str]:
    """Fill the filesystem of the home while the sweep runs; make room and go on once the driver has given up."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", SWEEP, rig.home.root], capture_output=True, text=True
    )
    if mounted.returncode:
        raise Skipped(f"a small filesystem cannot be mounted here: {mounted.stderr.strip()}")
    rig.mounted = True
    process = rig.run(**SLOW)
    rig.until_events(process, rng.randrange(5, 20), Progress, stage="refine")
    rig.say("filling the disk")
    ballast = rig.home.root / "ballast"
    with suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while file.write(bytes(65536)):
            pass
    code, said = rig.ended(process), rig.said()
    ballast.unlink()
    wrong = rig.check()
    rig.ended(rig.resume(), 0)
    told = "No space left on device" in said
    return [
        *wrong,
        *unless(code not in (0, 1) and told, f"the driver ended with {code} and said: {said[-300:]}"),
    ]


def checkpoint_damaged(rig: Rig, rng: random.Random) -> list[str]:
    """Kill everything, change one byte of the newest checkpoint of each trial, and go on."""
    _broken_off(rig, 4, Checkpointed, stage="refine")
    newest = {path.parent: path for path in sorted(rig.paths.trials.glob("*/refine*/step-*"))}
    ended = {
        entry.trial
        for entry in rig.entries(TrialEnded)
        if isinstance(entry.event, TrialEnded) and entry.event.status == "finished"
    }
    for stage, path in newest.items():
        if stage.parent.name not in ended:
            _flip_byte(path / "tensors.safetensors", rng)
    rig.ended(rig.resume(), 0)
    return unless(rig.entries(CheckpointDamaged), "the damage is not on record")


def output_damaged(rig: Rig, rng: random.Random) -> list[str]:
    """Kill everything, change one byte of every stage output in the store, and go on."""
    _broken_off(rig, 2, StageComputed)
    for file in rig.home.stages.glob("v*/*/*/tensors.safetensors"):
        _flip_byte(file, rng)
    rig.ended(rig.resume(), 0)
    reasons = [str(event.reason) for event in rig.events(StageComputed)]
    return [
        *unless(any((rig.home.stages / "quarantine").glob("*")), "the damaged output was not set aside"),
        *unless(any("damaged" in reason for reason in reasons), f"the damage is not on record: {reasons}"),
    ]


def journal_torn(rig: Rig, rng: random.Random) -> list[str]:
    """Kill everything, leave half a line at the end of the record, and go on."""
    _broken_off(rig, rng.randrange(2, 20), Progress, stage="refine")
    line = b'{"seq": 1000000, "time": 1760000000.0, "trial": "t0000", "event": {"kind": "evaluated", "stage": "ref'
    with open(rig.paths.journal, "ab") as journal:
        journal.write(line[: rng.randrange(1, len(line))])
    rig.ended(rig.resume(), 0)
    return unless(rig.entries(Recovered), "the torn line is not on record")


def _broken_off(rig: Rig, count: int, *kinds: type[Event], **fields: object) -> None:
    process = rig.run(**SLOW)
    rig.until_events(process, count, *kinds, **fields)
    rig.say("killing the driver and all its processes")
    rig.kill_tree(process)


def _flip_byte(file: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content) // 2, len(content))] ^= 0x40
    file.write_bytes(content)


CLOCK = """
import os, time
_flag, _time, _time_ns = os.environ["FLOWSWEEP_DRILL_CLOCK"], time.time, time.time_ns
def _back():
    return 3600 if os.path.exists(_flag) else 0
time.time = lambda: _time() - _back()
time.time_ns = lambda: _time_ns() - _back() * 10**9
"""


def clock_set_back(rig: Rig, rng: random.Random) -> list[str]:
    """Set the clock of all our Python processes back by an hour, while they run and over a restart."""
    flag = rig.root / "an-hour-ago"
    (rig.root / "clock").mkdir()
    (rig.root / "clock" / "sitecustomize.py").write_text(CLOCK)
    places = [str(rig.root / "clock"), *filter(None, [os.environ.get("PYTHONPATH")])]
    rig.environment |= {"PYTHONPATH": os.pathsep.join(places), "FLOWSWEEP_DRILL_CLOCK": str(flag)}
    process = rig.run(**SLOW)
    rig.until_events(process, 5, Progress, stage="refine")
    rig.say("setting the clock back")
    flag.touch()
    rig.until_events(process, 20, Progress, stage="refine")
    rig.kill_tree(process)
    rig.ended(rig.resume(), 0)
    times = [entry.time for entry in rig.entries()]
    return unless(any(b < a - 3000 for a, b in pairwise(times)), "no time on record went back")
