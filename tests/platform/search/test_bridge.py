"""The Optuna bridge: outcomes reach Optuna's own storage as what they were, whatever the sampler."""

from pathlib import Path

import optuna
import pytest
from flowsweep.platform.running.scheduling import CONTINUE, judge, make_pruner, rungs
from flowsweep.platform.search.bridge import StudySearch
from flowsweep.platform.sweep.spec import Search, Stop
from flowsweep.search_spaces.parameters import Choice, Integer, Real
from optuna.trial import TrialState

SPACE = {
    "s.rate": Real(low=1e-3, high=1.0, log=True),
    "s.depth": Integer(low=1, high=4),
    "s.kind": Choice(values=("a", "b")),
}


def bridge(folder: Path, stop: Stop | None = None, **search) -> StudySearch:
    pruner = make_pruner(stop or Stop())
    return StudySearch("s", f"sqlite:///{folder / 'optuna.db'}", Search(**search), SPACE, "maximize", pruner)


def stored(search: StudySearch) -> list[optuna.trial.FrozenTrial]:
    """What somebody else finds in the storage."""
    assert search.settle() == 0
    backend = search._mirror._kept
    return optuna.load_study(study_name="s", storage=str(backend.engine.url)).trials


def test_a_pruned_trial_keeps_its_intermediate_values_and_its_reason(tmp_path: Path):
    search = bridge(tmp_path)
    proposal = search.propose()
    search.report(proposal.trial, 10, 0.25)
    search.report(proposal.trial, 20, 0.5)
    search.tell(proposal.trial, "pruned", 0.5, "too low")
    trial = stored(search)[0]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {10: 0.25, 20: 0.5}
    assert trial.user_attrs == {"trial": "t0000", "status": "pruned", "reason": "too low"}


def test_a_diverged_trial_is_closed_rather_than_left_running(tmp_path: Path):
    search = bridge(tmp_path)
    proposal = search.propose()
    search.tell(proposal.trial, "diverged", float("nan"), "loss became non-finite at step 3")
    assert stored(search)[0].state == TrialState.FAIL
    assert "non-finite" in stored(search)[0].user_attrs["reason"]


def test_a_cancelled_trial_stays_open_and_can_be_taken_up_again(tmp_path: Path):
    first = bridge(tmp_path)
    proposal = first.propose()
    first.report(proposal.trial, 10, 0.1)
    first.tell(proposal.trial, "cancelled", 0.1, "stop requested")
    assert stored(first)[0].state == TrialState.RUNNING

    second = bridge(tmp_path)
    second.reopen(proposal.trial)
    second.report(proposal.trial, 20, 0.2)
    second.tell(proposal.trial, "finished", 0.2, "")
    assert stored(second)[0].state == TrialState.COMPLETE
    assert stored(second)[0].intermediate_values == {10: 0.1, 20: 0.2}


def test_fixed_points_come_first_and_only_once(tmp_path: Path):
    fixed = ({"s.rate": 0.5, "s.depth": 2, "s.kind": "b"},)
    first = bridge(tmp_path, fixed=fixed)
    assert first.propose().params == fixed[0]
    first.close()
    assert bridge(tmp_path, fixed=fixed).propose().params != fixed[0]


def run_to(search: StudySearch, stop: Stop, values: dict[int, float], steps: int = 90):
    proposal = search.propose()
    for step, value in values.items():
        search.report(proposal.trial, step, value)
        decision = judge(search, stop, proposal.trial, step, steps, value)
        if decision is not CONTINUE:
            search.tell(proposal.trial, decision.status, value, decision.reason)
            return decision
    search.tell(proposal.trial, "finished", value, "")
    return CONTINUE


def test_asha_stops_what_is_not_among_the_best_and_says_why(tmp_path: Path):
    stop = Stop(rule="asha", min_steps=10, reduction=3)
    search = bridge(tmp_path, stop)
    assert run_to(search, stop, {10: 1.0, 30: 2.0, 90: 3.0}) is CONTINUE
    decision = run_to(search, stop, {10: 0.5, 30: 9.0, 90: 9.0})
    assert (decision.action, decision.status, decision.rule) == ("stop", "pruned", "asha")
    assert "0.5 at step 10: 1 of 2 trials that got this far did better; one in 3 passes" in decision.reason
    assert run_to(search, stop, {10: 1.5, 30: 2.5, 90: 3.5}) is CONTINUE


def test_asha_judges_nobody_between_rungs_or_at_the_end(tmp_path: Path):
    stop = Stop(rule="asha", min_steps=10, reduction=3)
    search = bridge(tmp_path, stop)
    run_to(search, stop, {10: 1.0, 90: 3.0})
    assert run_to(search, stop, {5: 0.0, 9: 0.0}) is CONTINUE
    assert judge(search, stop, "t0001", 90, 90, 0.0) is CONTINUE


def test_median_stops_below_the_median_once_enough_have_finished(tmp_path: Path):
    stop = Stop(rule="median", min_steps=10, startup_trials=2)
    search = bridge(tmp_path, stop)
    assert run_to(search, stop, {10: 1.0, 90: 1.0}) is CONTINUE
    assert run_to(search, stop, {10: 0.1, 90: 1.0}) is CONTINUE
    assert run_to(search, stop, {10: 0.2, 90: 1.0}).status == "pruned"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_ends_the_trial_as_diverged(value, tmp_path: Path):
    decision = judge(bridge(tmp_path), Stop(), "t0000", 10, 90, value)
    assert (decision.status, decision.rule) == ("diverged", "divergence")
    assert str(value) in decision.reason


def test_rungs_are_the_steps_at_which_asha_judges():
    assert rungs(Stop(rule="asha", min_steps=10, reduction=3), 90) == [10, 30]
    assert rungs(Stop(rule="asha", min_steps=10, reduction=3), 91) == [10, 30, 90]
    assert rungs(Stop(rule="asha", min_steps=100, reduction=3), 90) == []
    assert rungs(Stop(), 90) == []
