"""Whole sweeps whose trials all fail: they stop, and go on once the cause is mended."""

from __future__ import annotations

from flowsweep.platform.running.first_failures import FEW, SAME_FAILURE

FAILING = {"stages": {"tune": {"fail_at": 7}}, "search": {"trials": 24}}


def test_the_search_stops_after_the_first_few_and_says_why(sweep):
    hopeless = sweep(**FAILING)
    outcome = hopeless.run()
    assert outcome.status == "failed"
    assert list(hopeless.endings().values()) == ["failed"] * FEW
    (spent,) = (fact.event for fact in hopeless.facts("budget_spent"))
    assert spent.rule == SAME_FAILURE
    assert "RuntimeError: the toy broke, as asked" in spent.reason


def test_once_the_cause_is_mended_it_goes_on(sweep, monkeypatch):
    mended = sweep(**{**FAILING, "search": {"trials": 5}})
    mended.run()
    monkeypatch.setenv("TOY_NEVER_FAILS", "1")
    assert mended.resume().status == "finished"
    assert list(mended.endings().values()) == ["failed"] * FEW + ["finished"] * 2
