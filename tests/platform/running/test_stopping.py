"""A driver that is told to leave leaves in time and says so, whatever its main thread is doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from flowsweep.platform.paths import SweepPaths
from flowsweep.platform.running import stopping
from flowsweep.platform.running.stopping import Stopping

STUCK = """
import ctypes, signal, sys
from pathlib import Path
from flowsweep.platform.paths import SweepPaths
from flowsweep.platform.running import stopping
stopping.LEAVE_S, stopping.GONE_S = 1.0, 0.3
told = stopping.Stopping(SweepPaths(Path(sys.argv[1])), lambda fact: None)
told.last_word = lambda why: print(why, flush=True)
told.gone = lambda: "its raylet ended by signal 9" if sys.argv[2] == "gone" else ""
with told.on_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM})
    print("stuck", flush=True)
    ctypes.CDLL(None).sleep(60)
"""
SWALLOWED = """
import signal, sys, time
from pathlib import Path
from flowsweep.platform.paths import SweepPaths
from flowsweep.platform.running import stopping
stopping.HURRY_S, stopping.AGAIN_S = 0.3, 0.3
told, swallowed = stopping.Stopping(SweepPaths(Path(sys.argv[1])), lambda fact: None), 0
with told.on_signals():
    print("stuck", flush=True)
    while swallowed < 3:
        try:
            time.sleep(60)
        except KeyboardInterrupt:  # as a callback in another library does
            swallowed += 1
print("told three times", flush=True)
"""


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(tmp_path)


@pytest.fixture
def started(tmp_path: Path):
    """Start a script that prints `stuck` once it is; end it after the test."""
    processes = []

    def start(script: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, str(tmp_path), *arguments]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "stuck\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("told", [[signal.SIGTERM], [signal.SIGHUP], [signal.SIGINT, signal.SIGINT]])
def test_a_driver_that_is_stuck_is_ended_with_a_last_word(started, told):
    process = started(STUCK, "there")
    for number in told:
        process.send_signal(number)
        time.sleep(0.1)
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "The driver was held up\n")


def test_one_ctrl_c_alone_ends_nobody_by_force(started):
    process = started(STUCK, "there")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2.5)


def test_a_driver_whose_ray_has_ended_does_not_wait_for_it(started):
    process = started(STUCK, "gone")
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, said) == (4, "Ray has ended: its raylet ended by signal 9\n")


def test_a_driver_is_told_again_until_it_is_heard(started):
    process = started(SWALLOWED)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == "told three times\n"


def test_the_first_ctrl_c_asks_trials_to_leave_and_the_second_leaves(paths):
    told = Stopping(paths, lambda fact: None)
    with told.on_signals():
        signal.raise_signal(signal.SIGINT)
        assert told.is_set()
        assert paths.stop_request.exists()
        assert not told.hurried
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_machine_that_is_about_to_go_hurries(paths, number, monkeypatch):
    monkeypatch.setattr(stopping, "HURRY_S", 0.2)
    told = Stopping(paths, lambda fact: None)
    with told.on_signals():
        signal.raise_signal(number)
        assert (told.is_set(), told.hurried) == (True, True)
        with pytest.raises(KeyboardInterrupt):
            time.sleep(5)


def test_sighup_that_is_ignored_stays_ignored(paths):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what `nohup` does
    try:
        told = Stopping(paths, lambda fact: None)
        with told.on_signals():
            signal.raise_signal(signal.SIGHUP)
            assert not told.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_sweep_is_concluded_breaks_that_off(paths, number):
    told = Stopping(paths, lambda fact: None)
    with told.on_signals():
        with pytest.raises(KeyboardInterrupt), told.breaking_off():
            signal.raise_signal(number)
        assert told.broken_off


def test_what_was_set_before_holds_again_afterwards(paths):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Stopping(paths, lambda fact: None).on_signals():
        pass
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert "stopping" not in {thread.name for thread in threading.enumerate()}
