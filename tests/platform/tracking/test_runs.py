"""Which value and which savings of a trial go to the tracker."""

from __future__ import annotations

import pytest
from flowsweep.platform.record.journal import Fact
from flowsweep.platform.tracking.runs import translate, trial_run

SEEDS = [0, 1]


def metrics(*facts: tuple[str, dict]) -> list[tuple[str, float]]:
    proposed = (
        "trial_proposed",
        {"phase": "search", "params": {}, "configs": {}, "seeds": SEEDS, "through": "tune"},
    )
    told = [Fact(seq, 0.0, kind, "t0", data) for seq, (kind, data) in enumerate([proposed, *facts])]
    unfit: list[str] = []
    update = translate(told, {}, {}, unfit)[trial_run("t0")]
    assert not unfit
    return [(key, value) for key, value, _, _ in update.metrics]


def ended(status: str, value: float) -> tuple[str, dict]:
    return "trial_ended", {"status": status, "reason": "", "value": value}


@pytest.mark.parametrize("status", ["cancelled", "preempted"])
def test_a_trial_that_left_and_went_on_has_one_value(status):
    assert metrics(ended(status, 0.1), ended("finished", 0.9)) == [("value", 0.9)]


def test_what_reuse_saved_is_kept_for_each_seed():
    reused = [
        ("stage_reused", {"stage": "base", "key": f"k{seed}", "seed": seed, "saved_cpu_s": 1.0 + seed})
        for seed in SEEDS
    ]
    assert metrics(*reused) == [("base/saved_cpu_s.seed_0", 1.0), ("base/saved_cpu_s.seed_1", 2.0)]
