"""Trials that failed are tried again, by a person or by themselves."""

from __future__ import annotations

import pytest
from flowsweep.platform.errors import Refused, UserError
from flowsweep.platform.going_on.retrying import Chosen
from flowsweep.platform.record.results import read_sweep

FAILING = {"tune.fail_at": {"values": [7, 1000]}, "tune.diverge_at": {"values": [5, 1000]}}
POINTS = [{"tune.fail_at": f, "tune.diverge_at": d} for f, d in ((7, 1000), (1000, 5), (1000, 1000))]


def test_failed_trials_are_tried_again_under_their_names_and_told_to_the_search(sweep, monkeypatch):
    swept = sweep(space=FAILING, search={"trials": 3, "fixed": POINTS})
    swept.run()
    assert swept.endings() == {"t0000": "failed", "t0001": "diverged", "t0002": "finished"}
    monkeypatch.setenv("TOY_NEVER_FAILS", "1")
    swept.resume(retry=Chosen(("code_error",)))
    assert swept.endings() == {"t0000": "finished", "t0001": "diverged", "t0002": "finished"}
    retried = swept.facts("trial_retried")
    assert [(f.trial, f.event.failure, f.event.asked) for f in retried] == [("t0000", "code_error", True)]
    assert [f.event.status for f in swept.facts("trial_ended") if f.trial == "t0000"] == [
        "failed",
        "finished",
    ]
    assert [trial.state.name for trial in swept.study("toy~1").trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    swept.resume(retry=Chosen())
    assert swept.endings()["t0001"] == "finished"
    assert swept.steps_scored("t0001") == [10, 20, 30, 40]
    assert read_sweep(swept.paths).trials["t0001"].retries == 1


def test_what_cannot_be_tried_again_is_refused(sweep):
    swept = sweep(search={"trials": 1})
    swept.run()
    with pytest.raises(Refused, match="no trial of this sweep has failed"):
        swept.resume(retry=Chosen())
    with pytest.raises(Refused, match="ran to its end"):
        swept.resume(retry=Chosen(trials=("t0000",)))
    with pytest.raises(UserError, match="no such trial"):
        swept.resume(retry=Chosen(trials=("t0009",)))
    with pytest.raises(UserError, match="Did you mean `out_of_memory`"):
        Chosen(("out_of_memry",))


def test_out_of_memory_is_tried_once_more_with_one_seed_after_the_other_and_equal_results(sweep):
    whole = sweep(name="whole", search={"trials": 1})
    whole.run()
    short = sweep(name="short", search={"trials": 1}, stages={"tune": {"lanes_that_fit": 1}})
    short.run()
    assert short.endings() == {"t0000": "finished"}
    retried = short.facts("trial_retried")[0].event
    assert (retried.failure, retried.lanes, retried.asked) == ("out_of_memory", 1, False)
    reported = [
        [f.event.metrics for f in each.facts("progress", "evaluated") if f.event.stage == "tune"]
        for each in (whole, short)
    ]
    assert reported[0] == reported[1]


def test_out_of_memory_with_one_seed_at_once_ends_the_trial(sweep):
    swept = sweep(search={"trials": 1}, stages={"tune": {"lanes_that_fit": 0}})
    swept.run()
    ended = swept.facts("trial_ended")[0].event
    assert (ended.status, ended.failure) == ("out_of_memory", "out_of_memory")
    assert len(swept.facts("trial_retried")) == 1
    assert "out of memory" in (swept.paths.trials / "t0000" / "traceback.txt").read_text().lower()
