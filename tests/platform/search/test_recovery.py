"""A driver that dies between two writes: the next one brings the study in line with the journal."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from flowsweep.platform.journal.events import Entry, TrialProposed
from flowsweep.platform.journal.state import SweepState
from flowsweep.platform.search.bridge import StudySearch
from flowsweep.platform.search.recovery import reconcile
from flowsweep.platform.sweep.search_spec import Search
from flowsweep.search_spaces.parameters import Real
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

SPACE = {"tune.rate": Real(low=0.0, high=1.0)}
POINTS = tuple({"tune.rate": rate} for rate in (0.1, 0.2, 0.3))


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def opened(storage: str) -> StudySearch:
    search = Search(sampler="random", trials=3, fixed=POINTS)
    return StudySearch("s", storage, search, SPACE, "maximize", optuna.pruners.NopPruner(), context="c")


def proposed(name: str, rate: float) -> Entry:
    return Entry(seq=0, time=0.0, trial=name, event=TrialProposed(phase="search", params={"tune.rate": rate}))


def test_a_fixed_point_whose_driver_died_before_putting_it_on_record_is_proposed_again(storage):
    search = opened(storage)
    search.propose()
    search.settle()
    search = opened(storage)
    reconcile(search, SweepState())
    assert sorted(search.propose().params["tune.rate"] for _ in range(3)) == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("written", ["nothing", "state", "state and parameter"])
def test_a_trial_written_in_part_is_made_whole_and_can_be_told(written, storage):
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    study.enqueue_trial(POINTS[0])
    if written != "nothing":
        trial = study.ask()
        if "parameter" in written:
            trial.suggest_float("tune.rate", 0.0, 1.0)
    search = opened(storage)
    reconcile(search, SweepState.of([proposed("t0000", 0.1)]))
    search.reopen("t0000")
    search.tell("t0000", "finished", 0.5, "")
    assert search.propose().params["tune.rate"] == 0.2
    search.settle()
    found = optuna.load_study(study_name="s", storage=storage).trials[0]
    assert (found.state, found.value, found.params) == (TrialState.COMPLETE, 0.5, POINTS[0])
    assert found.user_attrs["trial"] == "t0000"
    assert found.distributions == {"tune.rate": FloatDistribution(0.0, 1.0)}
