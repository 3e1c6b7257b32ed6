"""What is done to the processes of a running sweep: drivers, workers, the tracking server.

Each function brings one fault about, lets the sweep come to its end, and says what of its own guarantee did not hold. That
nothing was lost is looked at afterwards, the same way for all.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ...trainables.events import Progress, StageComputed
from ..journal.events import SweepStarted, TrialEnded, TrialPlaced, TrialRetried
from ..tracking.server import server_command, server_environment
from ..tracking.tracker import tracker_status
from .rig import SWEEP, Missed, Rig, unless

SLOW = {"stages__refine__pause_s": 0.05}
"""Three seconds a trial: time to be disturbed in."""
LEAVE_S = 10.0
"""How long a driver may take to leave, on a machine that is not overloaded."""


def nothing(rig: Rig, rng: random.Random) -> list[str]:
    """Only the two trials that fail by themselves."""
    rig.ended(rig.run(), 0)
    ends = {e.trial: e.event for e in rig.entries(TrialEnded) if isinstance(e.event, TrialEnded)}
    diverged = [end for end in ends.values() if end.status == "diverged"]
    retried = [
        (entry.trial, entry.event)
        for entry in rig.entries(TrialRetried)
        if isinstance(entry.event, TrialRetried) and entry.event.failure == "out_of_memory"
    ]
    return [
        *unless(len(diverged) == 1 and "step 30" in diverged[0].reason, "the NaN was not told as one"),
        *unless(len(retried) == 1 and retried[0][1].lanes == 1, "want of memory was not met by one seed at a time"),
        *unless(retried and ends[retried[0][0]].status == "finished", "the crowded trial did not finish"),
    ]  # fmt: skip


def drivers_killed(rig: Rig, rng: random.Random, kills: int = 3, record_bytes: int = 90_000) -> list[str]:
    """Kill the driver at random moments and go on, until the sweep is done. The record is looked at after every kill.

    Args:
        kills: at most so many.
        record_bytes: about how long the record will be, so that the moments spread over it.
    """
    wrong, began_s = [], time.monotonic()
    process = rig.run(**SLOW)
    rig.until_events(process, 1, SweepStarted)
    start_s = time.monotonic() - began_s
    for number in range(1, kills + 1):
        # While it starts, or once the record has grown.
        early = number > 1 and rng.random() < 0.25
        _await_random_moment(rig, rng, process, start_s if early else None, record_bytes / (kills + 1))
        if process.poll() is not None:
            break
        rig.say(f"killing the driver ({number} of {kills})")
        rig.kill(process)
        rig.killed += 1
        wrong += rig.check()
        process = rig.resume()
    rig.ended(process, 0)
    return wrong


def _await_random_moment(
    rig: Rig, rng: random.Random, process: subprocess.Popen, within_s: float | None, apart_bytes: float
) -> None:
    if within_s is not None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.0, within_s))
        return
    wanted = rig.journal_bytes() + rng.uniform(0.3, 1.5) * apart_bytes
    rig.until(lambda: process.poll() is not None or rig.journal_bytes() >= wanted, "the record to grow")
    time.sleep(rng.uniform(0.0, 0.2))


def worker_in_pretrain(rig: Rig, rng: random.Random) -> list[str]:
    """Kill the only worker while it computes a shared stage."""
    process = rig.run(resources__concurrent=1, stages__pretrain__pause_s=0.1)
    rig.until_events(process, rng.randrange(1, 5), Progress, stage="pretrain")
    _kill_placed(rig)
    rig.ended(process, 0)
    return _taken_up_again(rig)


def worker_in_refine(rig: Rig, rng: random.Random) -> list[str]:
    """Kill a worker while it trains a trial's own stage."""
    process = rig.run(**SLOW)
    rig.until_events(process, rng.randrange(3, 15), Progress, stage="refine")
    _kill_placed(rig)
    rig.ended(process, 0)
    return _taken_up_again(rig)


def holder_killed(rig: Rig, rng: random.Random) -> list[str]:
    """Kill the worker that computes what another trial waits for."""
    process = rig.run(stages__pretrain__pause_s=0.1)
    rig.until_events(process, rng.randrange(1, 5), Progress, stage="pretrain")
    _kill_placed(rig)
    rig.ended(process, 0)
    reasons = [str(event.reason) for event in rig.events(StageComputed)]
    taken_over = any(reason.startswith("taken over from") for reason in reasons)
    return [*_taken_up_again(rig), *unless(taken_over, f"nobody took the claim over: {reasons}")]


def worker_in_publish(rig: Rig, rng: random.Random) -> list[str]:
    """Kill a worker while it writes a stage output into the store."""
    process = rig.run(resources__concurrent=1, stages__pretrain__ballast_mib=96)
    key, holder = publishing_worker(rig, process)
    rig.kill_worker(holder["pid"], holder["host"])
    if any(rig.home.stages.glob(f"v*/*/{key}")):
        raise Missed("the output was there before the worker was killed")
    rig.ended(process, 0)
    return _taken_up_again(rig)


def publishing_worker(rig: Rig, process: subprocess.Popen) -> tuple[str, Mapping[str, Any]]:
    """Wait until a stage output is being written into the store: its key, and the claim of whoever writes it."""
    store = rig.home.stages
    rig.until(lambda: any(store.glob("aside/*/*")), "an output to be written", process)
    try:
        claim = next(store.glob("claims/*.json"))
        return claim.stem, json.loads(claim.read_text())
    except (StopIteration, FileNotFoundError):
        raise Missed("the output was published before anybody looked") from None


def placed_worker(rig: Rig) -> TrialPlaced:
    """Where the trial that reported last is: pid and node of its worker."""
    trial = rig.entries(Progress)[-1].trial
    found = [
        e.event for e in rig.entries(TrialPlaced) if e.trial == trial and isinstance(e.event, TrialPlaced)
    ]
    return found[-1]


def _kill_placed(rig: Rig) -> None:
    placed = placed_worker(rig)
    rig.kill_worker(placed.pid, placed.node)


def _taken_up_again(rig: Rig) -> list[str]:
    retried = [event for event in rig.events(TrialRetried) if event.failure == "preempted"]
    return unless(retried, "no lost worker is on record")


def tracker_down(rig: Rig, rng: random.Random) -> list[str]:
    """Kill the tracking server as soon as the sweep has begun, and bring it back after its end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    rig.tracker = f"http://127.0.0.1:{port}"
    server = _serve(rig, port)
    process = rig.run(tracking__uri=rig.tracker)
    rig.until_events(process, 1, SweepStarted)
    rig.say("killing the tracking server")
    rig.kill_tree(server)
    rig.ended(process, 0)
    unsent = tracker_status(rig.paths).unsent
    _serve(rig, port)
    code, _ = rig.call("sync", SWEEP)
    left = tracker_status(rig.paths).unsent
    return [
        *unless(unsent, "the server was down and yet had everything"),
        *unless((code, left) == (0, 0), f"sync ended with {code} and left {left} events"),
    ]


def _serve(rig: Rig, port: int) -> subprocess.Popen[bytes]:
    rig.say("starting a tracking server")
    command = server_command(rig.home.mlflow_uri, rig.home.mlflow_artifacts, "127.0.0.1", port)
    server = rig.start(command, server_environment())

    def answers() -> bool:
        time.sleep(0.3)
        with suppress(OSError), urllib.request.urlopen(f"{rig.tracker}/health", timeout=2) as answer:
            return answer.status == 200
        return False

    rig.until(answers, "the tracking server", server)
    return server


def two_drivers(rig: Rig, rng: random.Random) -> list[str]:
    """Start the sweep a second time, and resume it, while it runs."""
    process = rig.run(stages__refine__pause_s=0.2)
    rig.until_events(process, 1, SweepStarted)
    again, said_again = rig.call("run", SWEEP)
    resumed, said_resumed = rig.call("resume", SWEEP, *rig.where)
    running = process.poll() is None
    rig.ended(process, 0)
    if not running:
        raise Missed("the first driver had ended before the second came")
    return [
        *unless(
            again == 3 and "exists" in said_again, f"a second run ended with {again}: {said_again[-200:]}"
        ),
        *unless(
            resumed == 3 and f"is being run by pid {process.pid}" in said_resumed,
            f"a second driver ended with {resumed}: {said_resumed[-200:]}",
        ),
    ]


def told_to_leave(rig: Rig, rng: random.Random) -> list[str]:
    """Send the driver SIGTERM, as a machine that is about to go does."""
    process = rig.run(**SLOW)
    rig.until_events(process, 5, Progress, stage="refine")
    process.send_signal(signal.SIGTERM)
    began_s = time.monotonic()
    rig.ended(process, 130)
    took_s = time.monotonic() - began_s
    rig.say(f"it left after {took_s:.1f} s")
    failed = [
        entry.trial
        for entry in rig.entries(TrialEnded)
        if isinstance(entry.event, TrialEnded) and entry.event.status == "failed"
    ]
    rig.ended(rig.resume(), 0)
    allowed_s = LEAVE_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    return [
        *unless(took_s < allowed_s, f"it took {took_s:.1f} s to leave, of {allowed_s:.0f} s at this load"),
        *unless(not failed, f"{failed} count as failed"),
    ]
