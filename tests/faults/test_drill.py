"""Every fault of `flowsweep drill`, the driver killed at more than twenty random moments, and the drill itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from flowsweep.platform.drill.checks import Account
from flowsweep.platform.drill.drill import FAULTS, Fault
from flowsweep.platform.drill.faults import drivers_killed
from flowsweep.trainables.base import Lane, load_system

pytestmark = pytest.mark.faults

KILLS = 20
BY_NAME = {fault.name: fault for fault in FAULTS if fault.strike not in (FAULTS[0].strike, drivers_killed)}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_sweep_loses_nothing_by(name, held):
    held(BY_NAME[name])


@pytest.mark.faults(limit_s=1500)
def test_a_driver_killed_at_twenty_random_moments_loses_nothing(held):
    killed, seed = 0, 0
    while killed < KILLS:
        seed += 1
        eleven = partial(drivers_killed, kills=11)
        killed += held(Fault(f"drivers-{seed}", eleven, "", ""), seed=seed).kills
        assert seed < 5, f"only {killed} drivers were killed"


def test_what_the_drill_compares_with_is_what_the_system_computes(undisturbed: Account):
    """Trial t0004 once more, without any of the platform."""
    torch.set_num_threads(1)
    system = load_system("rehearsal")
    source = system.open_source("rehearsal/points")
    pretrain, refine = system.stages
    first = pretrain.config_type()
    second = refine.config_type(rate=0.02, goal=3.0)
    lanes = []
    for seed in (0, 1):
        learner = pretrain.start([Lane(first, seed)], source, "cpu")
        learner.advance(first.steps)
        lanes.append(Lane(second, seed, {"pretrain": learner.outputs()[0]}))
    learner = refine.start(lanes, source, "cpu")
    points = undisturbed.own["t0004"]
    for step in (20, 40, 60):
        learner.advance(20)
        for seed, score in zip((0, 1), learner.evaluate([0, 1], 4), strict=True):
            assert points["evaluated", "refine", step, seed, "return"] == [repr(score.metrics["return"])]


def test_the_command_says_what_held_and_leaves_nothing_behind(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "flowsweep.platform.cli", "drill", "--only", "driver-told", "--json"],
        env={**os.environ, "FLOWSWEEP_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = json.loads(done.stdout)["verdicts"]
    assert [verdict["verdict"] for verdict in verdicts] == ["held", "held"]
    assert not any(tmp_path.iterdir())
