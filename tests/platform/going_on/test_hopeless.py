"""Whole sweeps whose trials all fail: they stop, and go on once the cause is mended."""

from __future__ import annotations

from flowsweep.platform.running.first_failures import FEW, SAME_FAILURE

FAILING = {"stages": {"tune": {"fail_at": 7}}, "search": {"trials": 24}}


def test_the_search_stops_after_the_first_few_and_says_why(sweep):
    hopeless = sweep(**FAILING)
    outcome = hopeless.run()
    assert outcome.status == "failed"
    assert list(hopeless.endings().values()) == ["failed"] * FEW
    (decision,) = (fact.data for fact in hopeless.facts("decision") if fact.trial is None)
    assert decision["rule"] == SAME_FAILURE
    assert "RuntimeError: the toy broke, as asked" in decision["reason"]


def test_once_the_cause_is_mended_it_goes_on(sweep, monkeypatch):
    mended = sweep(**{**FAILING, "search": {"trials": 5}})
    mended.run()
    monkeypatch.setenv("TOY_NEVER_FAILS", "1")
    assert mended.resume().status == "finished"
    assert list(mended.endings().values()) == ["failed"] * FEW + ["finished"] * 2
