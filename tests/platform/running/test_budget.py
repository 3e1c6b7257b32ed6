"""What a sweep has spent, from its facts: live, after a resume, and under a clock that was set back."""

from types import SimpleNamespace

import pytest
from flowsweep.platform.journal.events import (
    Entry,
    SweepEnded,
    SweepResumed,
    SweepStarted,
    TrialPlaced,
    TrialProposed,
    TrialRetried,
)
from flowsweep.platform.running.budget import Meter, estimates
from flowsweep.platform.sweep.stop_spec import Budget
from flowsweep.trainables.events import Progress, Pulse, StageComputed, Waiting

HOUR = 3600.0


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def proposed(trial="t0", phase="search", at=0.0) -> Entry:
    return Entry(seq=0, time=at, trial=trial, event=TrialProposed(phase=phase))


def progress(step, trial="t0", seeds=(0, 1), cpu_s=0.0, stage="tune", at=0.0) -> Entry:
    return Entry(
        seq=0,
        time=at,
        trial=trial,
        event=Progress(stage=stage, step=step, steps=100, seeds=seeds, metrics={}, cpu_s=cpu_s),
    )


def test_updates_are_counted_once_per_seed_and_never_twice():
    meter = Meter(Budget(steps=100))
    for fact in (
        proposed(),
        progress(10),
        progress(20),
        progress(20),
        progress(15, stage="base", seeds=(0,)),
    ):
        meter.take(fact)
    assert meter.spent()["steps"] == 2 * 20 + 15
    assert meter.sweep_limit() is None


def test_confirmations_are_no_part_of_the_budget():
    meter = Meter(Budget(steps=10, core_hours=1))
    for fact in (proposed(phase="confirm"), progress(100, cpu_s=9 * HOUR)):
        meter.take(fact)
    assert meter.sweep_limit() is None


def test_what_a_stage_cost_is_not_added_to_what_its_reports_cost():
    meter = Meter(Budget())
    computed = Entry(
        seq=0, time=0.0, trial="t0", event=StageComputed(stage="base", key="k", seed=0, cpu_s=7.0)
    )
    for fact in (
        proposed(),
        progress(5, stage="base", cpu_s=2.0),
        progress(9, stage="base", cpu_s=3.0),
        computed,
    ):
        meter.take(fact)
    assert meter.spent()["core_hours"] == pytest.approx(7.0 / HOUR)


def test_the_limit_that_was_reached_is_named_with_its_numbers():
    meter = Meter(Budget(core_hours=2, steps=10_000))
    for fact in (proposed(), progress(10, cpu_s=2.5 * HOUR)):
        meter.take(fact)
    spent = meter.sweep_limit()
    assert spent is not None
    assert (spent.rule, spent.reason) == ("budget.core_hours", "2.5 of 2 core-hours spent")


def test_gpu_hours_are_those_at_work_and_waiting_for_another_trial_is_not():
    clock = Clock()
    meter = Meter(Budget(), gpus=0.5, clock=clock)
    meter.take(proposed())
    meter.take(Entry(seq=0, time=0.0, trial="t0", event=TrialPlaced()))
    clock.now_s += 2 * HOUR
    meter.take(Entry(seq=-1, time=0.0, trial="t0", event=Waiting(stage="base", key="k", holder="t1")))
    clock.now_s += 5 * HOUR
    meter.take(Entry(seq=-1, time=0.0, trial="t0", event=Pulse(stage="tune", step=1, steps=100)))
    clock.now_s += 1 * HOUR
    assert meter.spent()["gpu_hours"] == pytest.approx(0.5 * 3)
    assert meter.spent()["wall_clock_h"] == pytest.approx(8)


def test_a_trial_has_limits_of_its_own():
    clock = Clock()
    meter = Meter(Budget(trial_wall_clock_h=2), clock=clock)
    for fact in (proposed("t0"), proposed("t1"), Entry(seq=0, time=0.0, trial="t0", event=TrialPlaced())):
        meter.take(fact)
    clock.now_s += 2.5 * HOUR
    limit = meter.trial_limit("t0")
    assert limit is not None
    assert (limit.rule, limit.reason) == ("budget.trial_wall_clock_h", "2.5 of 2 hours at work spent")
    assert meter.trial_limit("t1") is None


RECORDED = [
    Entry(seq=0, time=0.0, event=SweepStarted()),
    proposed(at=0.0),
    Entry(seq=2, time=10.0, trial="t0", event=TrialPlaced()),
    progress(10, cpu_s=30.0, at=1810.0),
    Entry(seq=4, time=1810.0, event=SweepEnded(status="finished")),
    Entry(seq=5, time=90_000.0, trial="t9", event=TrialRetried(failure="preempted")),
    Entry(seq=6, time=90_010.0, event=SweepResumed()),
    progress(20, cpu_s=30.0, at=91_810.0),
]


def test_a_resumed_sweep_knows_at_once_what_was_spent_and_pauses_cost_nothing():
    meter = Meter(Budget(), gpus=1, recorded=RECORDED, clock=Clock())
    spent = meter.spent()
    assert spent["steps"] == 40
    assert spent["core_hours"] == pytest.approx(60 / HOUR)
    assert spent["wall_clock_h"] == pytest.approx((1810 + 1800) / HOUR)
    assert spent["gpu_hours"] == pytest.approx(1800 / HOUR)


def test_a_clock_that_was_set_back_costs_nothing_and_gives_nothing_back():
    times = [0.0, 100.0, -5000.0, -4950.0]
    recorded = [
        Entry(seq=0, time=times[0], event=SweepStarted()),
        proposed(at=times[1]),
        progress(1, at=times[2]),
        progress(2, at=times[3]),
    ]
    meter = Meter(Budget(), recorded=recorded, clock=Clock())
    assert meter.spent()["wall_clock_h"] == pytest.approx(150 / HOUR)


def test_the_plan_sees_each_limit_beside_its_estimate():
    row = SimpleNamespace(phase="search", steps=1000, computed=8, core_h=4.0)
    later = SimpleNamespace(phase="confirm", steps=1000, computed=3, core_h=1.5)
    found = estimates(Budget(core_hours=2, wall_clock_h=3), [row, later], 0.0, 2)
    assert found == {
        "core_hours": {"limit": 2, "estimate": 4.0},
        "wall_clock_h": {"limit": 3, "estimate": 2.0},
    }
