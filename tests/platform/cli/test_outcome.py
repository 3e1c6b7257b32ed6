"""What a sweep has found, printed: the best trials first, and no more than a person reads."""

from pathlib import Path

import pytest
from flowsweep.platform.journal.events import SweepEnded, SweepStarted, TrialEnded, TrialProposed
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.paths import Home
from flowsweep.trainables.events import Evaluated

SPEC = {
    "system": "toy",
    "dataset": "toy/points",
    "objective": {"metric": "tune/return", "direction": "maximize"},
}


@pytest.fixture
def many(tmp_path: Path) -> str:
    """A sweep of 30 scored trials, the last the best, and 25 that failed."""
    with Journal(Home(tmp_path / "home").sweep("many").journal) as journal:
        journal.append(SweepStarted(name="many", spec=SPEC))
        for number in range(55):
            trial = f"t{number:04}"
            journal.append(TrialProposed(number=number, phase="search", params={"tune.rate": number}, configs={}, seeds=[0], through="tune"), trial)  # fmt: skip
            if number < 30:
                journal.append(Evaluated(stage="tune", step=10, steps=10, seeds=[0], metrics={"return": [float(number)]}, episodes=[{"return": [float(number)]}], episodes_spent=1, cpu_s=1.0), trial)  # fmt: skip
                journal.append(
                    TrialEnded(status="finished", reason="all steps done", value=float(number)), trial
                )
            else:
                journal.append(TrialEnded(status="failed", reason="code_error: no", value=None), trial)
        journal.append(SweepEnded(status="finished", reason=""))
    return "many"


def test_the_first_twenty_of_many_trials_are_shown_and_all_when_asked_for(run, many):
    code, said, _ = run("show", many)
    assert code == 0
    assert [f"t{number:04}" in said for number in (29, 10, 9, 0)] == [True, True, False, False]
    assert "… 10 more: flowsweep show many --all" in said
    assert (said.count("failed: code_error"), "… 5 more that were not scored" in said) == (20, True)

    _, every, _ = run("show", many, "--all")
    assert all(f"t{number:04}" in every for number in range(55))
    assert "…" not in every
