"""Ends that a machine brings about: the driver says so, is gone in seconds, and what was done is on record."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from flowsweep.platform.drill.checks import Account
from flowsweep.platform.drill.faults import LEAVE_S, SLOW
from flowsweep.platform.drill.rig import Rig
from flowsweep.platform.journal.events import SweepEnded, TrialEnded, TrialRetried
from flowsweep.platform.sweep.spec import sweep_file
from flowsweep.trainables.events import Evaluated

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
    rig.until_events(process, 2, Evaluated, stage="refine")
    started_by_it = everyone(process)
    began_s = time.monotonic()
    strike(process)
    rig.ended(process, code)
    assert time.monotonic() - began_s < LEAVE_S + 5, rig.said()
    assert said in rig.said()
    assert [fact.event.status for fact in rig.entries(SweepEnded)] == ["interrupted"]
    left = psutil.wait_procs([each for each in started_by_it if "sender" not in str(each)], 20)[1]
    assert not [each for each in left if "ray" in each.name()]
    rig.ended(rig.resume(), 0)
    assert_nothing_lost(rig, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_sweep_is_concluded_is_not_lost(
    rig: Rig, undisturbed, assert_nothing_lost, number
):
    process = rig.run()
    rig.until_events(process, 1, SweepEnded)
    process.send_signal(number)
    rig.ended(process, 130)
    assert "flowsweep report drill" in rig.said()
    assert [fact.event.status for fact in rig.entries(SweepEnded)] == ["finished"]
    rig.ended(rig.resume(), 0)
    assert_nothing_lost(rig, undisturbed)


DYING = """
import os, sys
from flowsweep.trainables.rehearsal import SYSTEM
if "RAY_RAYLET_PID" in os.environ:
    print("libdynamics.so: cannot open shared object file", file=sys.stderr, flush=True)
    os._exit(3)
"""


def test_a_worker_that_dies_of_what_it_loads_is_told_by_its_log_and_not_tried_for_ever(
    rig: Rig, tmp_path: Path
):
    (package := tmp_path / "package" / "dying-1.dist-info").mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: dying\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[flowsweep.systems]\ndying = dying:SYSTEM\n")
    (package.parent / "dying.py").write_text(DYING)
    process = rig.launch(
        "run", str(sweep_file("drill")), "--set=system=dying", environment={"PYTHONPATH": str(package.parent)}
    )
    rig.ended(process, 1)
    ends = rig.entries(TrialEnded)
    assert {fact.event.failure for fact in ends} == {"code_error"}
    assert len(ends) <= 4
    assert len(rig.entries(TrialRetried)) <= 2
    assert "its log: libdynamics.so: cannot open shared object file" in rig.said()
    assert [fact.event.status for fact in rig.entries(SweepEnded)] == ["failed"]
    assert next(iter(rig.paths.trials.glob("*/worker.log"))).read_text().startswith("libdynamics.so")


@pytest.mark.parametrize("where", ["| head -1", "> /dev/full", ">&-"])
def test_a_sweep_whose_output_goes_away_goes_on(
    rig: Rig, undisturbed: Account, assert_nothing_lost, where: str
):
    command = f"{sys.executable} -P -m flowsweep.platform.cli run {sweep_file('drill')} {where}"
    rig.ended(rig.start(["bash", "-c", f"set -o pipefail; {command}"]), 0)
    assert ("The output has gone away" in rig.said()) == (where != ">&-")
    assert "Traceback" not in rig.said()
    assert_nothing_lost(rig, undisturbed)


@pytest.mark.parametrize("name", ["torch", "mlflow"])
def test_a_file_named_like_a_package_beside_the_sweep_breaks_nothing(
    rig: Rig, undisturbed: Account, assert_nothing_lost, tmp_path: Path, name: str
):
    (tmp_path / f"{name}.py").write_text("raise SystemExit('mine')")
    for folder in ("platform", "flowsweep"):
        (tmp_path / folder).mkdir()
    command = f"cd {tmp_path} && {sys.executable} -P -m flowsweep.platform.cli run {sweep_file('drill')}"
    rig.ended(rig.start(["bash", "-c", command]), 0)
    assert_nothing_lost(rig, undisturbed)
