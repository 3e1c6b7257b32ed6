"""Sweeps that end by a budget or by patience, and go on when they are given more."""

from __future__ import annotations

import pytest
from flowsweep.platform.journal.events import SweepEnded
from flowsweep.platform.record.results import leaderboard, read_sweep
from flowsweep.platform.running.scheduling import evaluations_without_gain


def test_a_spent_budget_lets_no_further_trial_start(sweep):
    # Two seeds: 40 steps of `base` each once, then 2 x 40 of `tune` for every trial.
    swept = sweep(search={"trials": 5}, budget={"steps": 200})
    swept.run()
    assert len(swept.facts("trial_proposed")) == 2
    decision = swept.facts("budget_spent")[0]
    assert decision.event.rule == "budget.steps"
    assert decision.event.reason == "240 of 200 updates spent"
    assert read_sweep(swept.paths).spent == ["budget.steps: 240 of 200 updates spent"]
    assert swept.facts("sweep_ended")[-1].event == SweepEnded(
        status="finished", reason="budget.steps: 240 of 200 updates spent"
    )


def test_what_was_spent_is_known_right_after_a_resume_and_more_may_be_given(sweep):
    swept = sweep(search={"trials": 5}, budget={"steps": 200})
    swept.run()
    swept.resume()
    assert len(swept.facts("trial_proposed")) == 2
    swept.resume({"budget.steps": "400"})
    assert len(swept.facts("trial_proposed")) == 4


def test_trials_under_way_leave_with_their_state_when_the_budget_says_so(sweep, monkeypatch):
    monkeypatch.setattr("flowsweep.trainables.tune.REPORT_EVERY_S", 0.0)
    swept = sweep(search={"trials": 2}, budget={"steps": 100, "running": "stop"})
    swept.run()
    assert swept.endings() == {"t0000": "cancelled"}
    assert next(f for f in swept.facts("trial_stopped") if f.trial == "t0000").event.rule == "budget.steps"
    swept.resume({"budget.steps": "1000"})
    assert swept.endings() == {"t0000": "finished", "t0001": "finished"}
    assert swept.steps_scored("t0000") == [10, 20, 30, 40]
    assert swept.facts("continued")[0].trial == "t0000"


@pytest.mark.parametrize("rule", ["none", "asha"])
def test_patience_ends_a_trial_that_gains_too_little_whatever_the_other_rule_says(sweep, rule):
    swept = sweep(
        search={"trials": 2},
        stop={"rule": rule, "min_steps": 10, "reduction": 2, "patience": 2, "min_delta": 100.0},
    )
    swept.run()
    assert swept.endings() == {"t0000": "pruned", "t0001": "pruned"}
    decided = next(f for f in swept.facts("trial_stopped") if f.trial == "t0000")
    assert decided.event.rule == "patience"
    assert "none of the last 2 evaluations was better by more than 100" in decided.event.reason
    assert swept.steps_scored("t0000") == [10, 20, 30]
    assert {row.rank for row in leaderboard(read_sweep(swept.paths))} == {None}
    assert {trial.state.name for trial in swept.study().trials} == {"PRUNED"}


def test_the_best_so_far_counts_and_not_the_last():
    assert evaluations_without_gain([1.0, 3.0, 2.0, 2.5], 0.0, True) == 2
    assert evaluations_without_gain([3.0, 1.0, 2.0, 0.5], 0.0, False) == 0
    assert evaluations_without_gain([1.0, 1.05, 1.09], 0.1, True) == 2


def test_a_trial_over_its_own_budget_is_stopped_early_and_never_ranked(sweep, monkeypatch):
    monkeypatch.setattr("flowsweep.trainables.tune.REPORT_EVERY_S", 0.0)
    swept = sweep(search={"trials": 1}, budget={"trial_core_hours": 1e-9})
    swept.run()
    assert swept.endings() == {"t0000": "pruned"}
    assert swept.facts("trial_stopped")[0].event.rule == "budget.trial_core_hours"
    assert [row.rank for row in leaderboard(read_sweep(swept.paths))] in ([], [None])
