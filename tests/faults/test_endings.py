"""Ends that a machine brings about: the driver says so, is gone in seconds, and what was done is on record."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from flowsweep.platform.drill.checks import Account
from flowsweep.platform.drill.faults import LEAVE_S, SLOW
from flowsweep.platform.drill.rig import Rig

pytestmark = pytest.mark.faults


@pytest.fixture
def rig(tmp_path: Path):
    with Rig(tmp_path / "rig") as rig:
        yield rig


def everyone(process: subprocess.Popen) -> list[psutil.Process]:
    driver = psutil.Process(process.pid)
    return [driver, *driver.children(recursive=True)]


def to_the_group(process: subprocess.Popen) -> None:
    """As `timeout` does."""
    os.killpg(process.pid, signal.SIGTERM)


def to_everyone(process: subprocess.Popen) -> None:
    """As systemd does, and a scheduler that ends a job."""
    for each in everyone(process):
        with contextlib.suppress(psutil.Error):
            each.send_signal(signal.SIGTERM)


def hang_up(process: subprocess.Popen) -> None:
    """As a terminal does that is closed."""
    process.send_signal(signal.SIGHUP)


def without(name: str) -> Callable[[subprocess.Popen], None]:
    """One of Ray's daemons is gone, as the kernel ends one for want of memory."""

    def kill(process: subprocess.Popen) -> None:
        next(each for each in everyone(process) if each.name() == name).kill()

    return kill


@pytest.mark.parametrize(
    ("strike", "code", "said"),
    [
        (to_the_group, 130, "Stopped; everything is stored. Continue with: flowsweep resume drill"),
        (to_everyone, 130, "Continue with: flowsweep resume drill"),
        (hang_up, 130, "Stopped; everything is stored. Continue with: flowsweep resume drill"),
        (without("raylet"), 4, "its raylet ended by signal 9"),
        (without("gcs_server"), 4, "its gcs_server ended by signal 9"),
    ],
    ids=["group", "everyone", "hangup", "raylet", "gcs"],
)
def test_a_driver_told_to_end_or_left_without_ray_ends_in_time_with_a_word(
    rig: Rig, undisturbed: Account, assert_nothing_lost, strike, code, said
):
    process = rig.run(**SLOW)
    rig.until_facts(process, 2, "evaluated", stage="refine")
    started_by_it = everyone(process)
    began_s = time.monotonic()
    strike(process)
    rig.ended(process, code)
    assert time.monotonic() - began_s < LEAVE_S + 5, rig.said()
    assert said in rig.said()
    assert [fact.event.status for fact in rig.facts("sweep_ended")] == ["interrupted"]
    left = psutil.wait_procs([each for each in started_by_it if "sender" not in str(each)], 20)[1]
    assert not [each for each in left if "ray" in each.name()]
    rig.ended(rig.resume(), 0)
    assert_nothing_lost(rig, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_sweep_is_concluded_is_not_lost(
    rig: Rig, undisturbed, assert_nothing_lost, number
):
    process = rig.run()
    rig.until_facts(process, 1, "sweep_ended")
    process.send_signal(number)
    rig.ended(process, 130)
    assert "flowsweep report drill" in rig.said()
    assert [fact.event.status for fact in rig.facts("sweep_ended")] == ["finished"]
    rig.ended(rig.resume(), 0)
    assert_nothing_lost(rig, undisturbed)
