"""What of the facts goes to the tracker, and in which words."""

from __future__ import annotations

import pytest
from flowsweep.platform.journal.events import EVENTS, Entry, TrialEnded, TrialProposed
from flowsweep.platform.tracking.runs import translate, trial_run
from flowsweep.trainables.events import Progress

SEEDS = [0, 1]


def metrics(*facts: tuple[str, dict]) -> list[tuple[str, float]]:
    proposed = (
        "trial_proposed",
        {"phase": "search", "params": {}, "configs": {}, "seeds": SEEDS, "through": "tune"},
    )
    told = [
        Entry(seq=seq, time=0.0, trial="t0", event=EVENTS[kind](**data))
        for seq, (kind, data) in enumerate([proposed, *facts])
    ]
    unfit: list[str] = []
    update = translate(told, {}, {}, unfit)[trial_run("t0")]
    assert not unfit
    return [(key, value) for key, value, _, _ in update.metrics]


def progress(step: int) -> dict:
    return {
        "stage": "refine",
        "step": step,
        "steps": 40,
        "seeds": SEEDS,
        "metrics": {"critic_loss": [0.5, 1.5]},
    }


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


def test_steps_repeated_after_a_resume_are_sent_once():
    steps: dict = {}
    facts = [
        Entry(seq=n, time=0.0, trial="t0", event=Progress(**progress(step)))
        for n, step in enumerate((10, 20, 30, 20, 30, 40))
    ]
    first = translate(facts[:3], steps, {}, [])[trial_run("t0")].metrics
    second = translate(facts[3:], steps, {}, [])[trial_run("t0")].metrics
    sent = [step for key, _, _, step in first + second if key == "refine/critic_loss"]
    assert sent == [10, 20, 30, 40]


def test_a_stage_trained_seed_by_seed_has_one_curve_per_seed():
    facts = [Entry(seq=0, time=0.0, trial="t0", event=TrialProposed(seeds=[0, 1]))]
    for seed in (0, 1):
        said = {
            "stage": "pretrain",
            "step": 5,
            "steps": 9,
            "seeds": [seed],
            "metrics": {"loss": [float(seed)]},
        }
        facts.append(Entry(seq=1 + seed, time=0.0, trial="t0", event=Progress(**said)))
    points = translate(facts, {}, {}, [])[trial_run("t0")].metrics
    assert [(key, value) for key, value, _, _ in points] == [
        ("pretrain/loss.seed_0", 0.0),
        ("pretrain/loss.seed_1", 1.0),
    ]


def test_a_fact_that_makes_no_sense_does_not_hold_up_the_others():
    unfit: list[str] = []
    facts = [
        Entry(
            seq=3,
            time=0.0,
            trial="t0",
            event=Progress(stage="refine", step=1, steps=2, seeds=(0, 1), metrics={"loss": [0.5]}),
        ),
        Entry(seq=4, time=0.0, trial="t0", event=Progress(**progress(2))),
    ]
    assert len(translate(facts, {}, {}, unfit)[trial_run("t0")].metrics) == 3
    assert unfit == ["entry 3 (progress): ValueError zip() argument 2 is shorter than argument 1"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("finished", "FINISHED"),
        ("pruned", "KILLED"),
        ("preempted", "KILLED"),
        ("cancelled", "KILLED"),
        ("diverged", "FAILED"),
        ("out_of_memory", "FAILED"),
        ("failed", "FAILED"),
    ],
)
def test_every_way_to_end_keeps_its_own_word_beside_mlflows(status, expected):
    failures = {"diverged": "diverged", "out_of_memory": "out_of_memory", "failed": "code_error"}
    ended = TrialEnded(status=status, reason="because", failure=failures.get(status))
    fact = Entry(seq=0, time=1.0, trial="t0", event=ended)
    update = translate([fact], {}, {}, [])[trial_run("t0")]
    assert (update.status, update.end_ms) == (expected, 1000)
    failure = {"flowsweep.failure": failures[status]} if status in failures else {}
    assert update.tags == {"flowsweep.status": status, "flowsweep.reason": "because", **failure}
