"""CMA-ES without anything unpickled from the study's storage."""

from __future__ import annotations

import pickle

import numpy as np
import optuna
import pytest
from flowsweep.platform.search.evolution import Evolution
from optuna.distributions import FloatDistribution
from optuna.samplers import CmaEsSampler

SPACE = {"x": FloatDistribution(-3.0, 3.0), "y": FloatDistribution(1e-3, 1.0, log=True)}


def value(trial: optuna.Trial) -> float:
    return (trial.params["x"] - 1.0) ** 2 + (np.log10(trial.params["y"]) + 1.0) ** 2


def search(sampler, trials: int, storage=None, **options) -> optuna.Study:
    study = optuna.create_study(
        sampler=sampler, storage=storage, study_name="s", load_if_exists=True, **options
    )
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, value(trial))
    return study


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{}, {"with_margin": True}, {"lr_adapt": True}])
def test_it_proposes_what_optunas_own_does(options):
    ours, theirs = (search(made(seed=1, **options), 40) for made in (Evolution, CmaEsSampler))
    for mine, other in zip(ours.trials, theirs.trials, strict=True):
        # Not to the last bit: whether C is rebuilt before it is told rounds.
        assert mine.params == pytest.approx(other.params, rel=1e-9)


def test_nothing_is_pickled_into_the_storage_and_a_new_driver_goes_on_from_the_same_distribution():
    storage = optuna.storages.InMemoryStorage()
    sampler = Evolution(seed=1)
    study = search(sampler, 40, storage)
    assert not [key for trial in study.trials for key in trial.system_attrs if "optimizer" in key]
    resumed = Evolution(seed=2)
    search(resumed, 1, storage)
    search(sampler, 1, storage)
    assert resumed._known.generation == sampler._known.generation > 3
    np.testing.assert_array_equal(resumed._known.mean, sampler._known.mean)


def test_a_pickle_planted_in_the_storage_is_not_loaded(tmp_path):
    class Planted:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    storage = optuna.storages.InMemoryStorage()
    study = search(Evolution(seed=1), 12, storage)
    last = study.ask(SPACE)
    storage.set_trial_system_attr(last._trial_id, "cma:optimizer:0", pickle.dumps(Planted()).hex())
    study.tell(last, value(last))
    search(Evolution(seed=3), 3, storage)
    assert not (tmp_path / "ran").exists()
    search(CmaEsSampler(seed=3), 1, storage)
    assert (tmp_path / "ran").exists(), "Optuna's own runs it, or this plant proves nothing"
