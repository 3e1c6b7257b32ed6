"""Processes that are told to leave, killed for memory, or not alone: real sweeps with real workers of Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from flowsweep.platform.journal.events import Entry
from flowsweep.platform.journal.journal import read
from flowsweep.platform.paths import Home
from flowsweep.platform.running.failures import MADE_ROOM
from flowsweep.platform.sweep.yaml_file import dump_yaml

FLOWSWEEP = [sys.executable, "-m", "flowsweep.platform.cli"]
SWEEP = {
    "system": "toy",
    "dataset": "toy/points",
    "objective": {"metric": "tune/return"},
    "search": {"trials": 1},
    "stages": {"tune": {"steps": 1000, "pause_s": 0.04}},
    "seeds": {"tune": [0], "test": [10]},
    "evaluation": {"episodes": 2, "every_steps": 200},
    "confirm": {"top": 0},
    "resources": {"retries": 0},
}


@pytest.fixture
def home(toy_system, tmp_path: Path) -> Home:
    return Home(tmp_path)


def started(home: Home, name: str, environment: dict[str, str] | None = None, **changes) -> subprocess.Popen:
    file = home.root / f"{name}.yaml"
    file.write_text(dump_yaml({**SWEEP, "name": name, **changes}))
    return subprocess.Popen(
        [*FLOWSWEEP, "run", str(file)], env={**os.environ, "FLOWSWEEP_HOME": str(home.root), **(environment or {})},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def facts(home: Home, name: str, *kinds: str) -> list[Entry]:
    journal = home.sweep(name).journal
    return [fact for fact in (read(journal) if journal.exists() else ()) if fact.event.kind in kinds]


def wait_for(process: subprocess.Popen, found, within_s: float = 200.0):
    """What ``found`` returns once it is something."""
    deadline = time.monotonic() + within_s
    while not (value := found()):
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.1)
    return value


def share(home: Home, name: str, at_once: str) -> None:
    """Say how many trials of a running sweep may run at once."""
    subprocess.run(
        [*FLOWSWEEP, "share", name, "--max-concurrent", at_once],
        env={**os.environ, "FLOWSWEEP_HOME": str(home.root)}, check=True, capture_output=True, timeout=100,
    )  # fmt: skip


def test_a_worker_told_to_leave_stores_its_state_and_its_trial_goes_on_elsewhere(home):
    process = started(home, "preempted")
    wait_for(process, lambda: facts(home, "preempted", "evaluated"))
    worker = facts(home, "preempted", "trial_placed")[0].event.pid
    os.kill(worker, signal.SIGTERM)
    second = subprocess.run(
        [*FLOWSWEEP, "resume", "preempted"], env={**os.environ, "FLOWSWEEP_HOME": str(home.root)},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert second.returncode == 3
    assert "is being run by pid" in second.stderr

    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output

    lost = facts(home, "preempted", "trial_retried")
    assert [(f.event.failure, f.event.reason) for f in lost] == [
        ("preempted", "its process was told to leave (SIGTERM)")
    ]
    # The state was stored after the signal: it goes on from no further back than one look at the outside world.
    (continued,) = facts(home, "preempted", "continued")
    stored = [f.event.step for f in facts(home, "preempted", "checkpoint") if f.time <= continued.time]
    assert continued.event.step == stored[-1] >= 200
    assert len({f.event.pid for f in facts(home, "preempted", "trial_placed")}) == 2
    scored = Counter(f.event.step for f in facts(home, "preempted", "evaluated"))
    assert scored == dict.fromkeys(range(200, 1001, 200), 1)
    reported = Counter(f.event.step for f in facts(home, "preempted", "progress") if f.event.stage == "tune")
    assert set(reported.values()) == {1}
    assert {*range(50, 1001, 50)} <= set(reported)
    assert [f.event.status for f in facts(home, "preempted", "trial_ended")] == ["finished"]


def test_a_driver_told_to_leave_is_gone_in_seconds_and_its_trials_can_go_on(home):
    process = started(home, "driver")
    wait_for(process, lambda: facts(home, "driver", "evaluated"))
    told_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=100)
    # Ten seconds on a machine of its own; tests share theirs.
    assert time.monotonic() - told_s < 40, output
    assert process.returncode == 130, output
    assert facts(home, "driver", "sweep_ended")[0].event.status == "interrupted"
    assert {f.event.status for f in facts(home, "driver", "trial_ended")} <= {"cancelled"}
    assert facts(home, "driver", "checkpoint")


def test_a_sweep_that_is_held_gives_its_worker_back_and_goes_on_when_it_is_let(home):
    process = started(home, "held", stages={"tune": {"steps": 300, "pause_s": 0.04}})
    wait_for(process, lambda: facts(home, "held", "progress"))
    worker = psutil.Process(facts(home, "held", "trial_placed")[0].event.pid)
    share(home, "held", "0")
    wait_for(process, lambda: not worker.is_running())
    share(home, "held", "all")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert [f.event.reason for f in facts(home, "held", "trial_retried")] == [MADE_ROOM]
    assert [f.event.trials for f in facts(home, "held", "capacity_changed")][1] == 0
    assert [f.event.status for f in facts(home, "held", "trial_ended")] == ["finished"]


@pytest.mark.slow
def test_a_worker_ended_by_rays_memory_monitor_is_out_of_memory_and_the_sweep_goes_on(home):
    # Any machine uses more than a thousandth of its memory, so every worker is ended as soon as it is looked at.
    tight = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "200"}
    process = started(home, "tight", tight, resources={"retries": 5})
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    ended = facts(home, "tight", "trial_ended")[0].event
    assert (ended.status, ended.failure) == ("out_of_memory", "out_of_memory"), output
    assert ended.reason.startswith("Ray ended its worker: ")
    assert len(facts(home, "tight", "trial_retried")) == 1
    assert facts(home, "tight", "sweep_ended")[0].event.status == "finished"


@pytest.mark.slow
def test_failed_trials_are_retried_through_the_command_line(home, monkeypatch):
    monkeypatch.setenv("FLOWSWEEP_HOME", str(home.root))
    process = started(
        home, "again", stages={"tune": {"steps": 40, "fail_at": 17}}, evaluation={"episodes": 2}
    )
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1, output
    assert (
        "t0000  failed: RuntimeError: the toy broke, as asked (toy_system.py, line 97)  [code_error]"
        in output
    )
    shown = subprocess.run(
        [*FLOWSWEEP, "show", "again", "--json"], capture_output=True, text=True, timeout=100
    )
    assert json.loads(shown.stdout)["trials"]["t0000"]["failure"] == "code_error"

    for wrong, code in (
        (["--class", "preempted"], 3),
        (["--class", "oom"], 2),
        (["--trial", "t9"], 2),
        ([], 2),
    ):
        refused = subprocess.run(
            [*FLOWSWEEP, "retry", "again", *wrong], capture_output=True, text=True, timeout=100
        )
        assert refused.returncode == code, refused.stderr
    dry = subprocess.run(
        [*FLOWSWEEP, "retry", "again", "--failed", "--dry-run", "--json"], capture_output=True, text=True, timeout=100
    )  # fmt: skip
    assert json.loads(dry.stdout)["trials"] == {"t0000": "code_error"}

    monkeypatch.setenv("TOY_NEVER_FAILS", "1")
    done = subprocess.run(
        [*FLOWSWEEP, "retry", "again", "--failed"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [f.event.status for f in facts(home, "again", "trial_ended")] == ["failed", "finished"]
    scored = [f.event.step for f in facts(home, "again", "evaluated")]
    assert scored == [40]
