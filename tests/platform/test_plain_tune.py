"""A system under somebody's own Tuner: Tune proposes, stops and restores; nothing of the platform is in it."""

from __future__ import annotations

import pytest
from flowsweep.trainables.errors import UserError, UserErrors
from flowsweep.trainables.plain_tune import Ask, OwnStore, PlainWalk
from flowsweep.trainables.source_ref import SourceRef
from flowsweep.trainables.tune import trainable

SETTINGS = {"pretrain": {"steps": 20}, "refine": {"steps": 30}}
ASK = Ask(
    "rehearsal",
    SourceRef(kind="dataset", name="rehearsal/points"),
    settings=SETTINGS,
    every_steps=10,
    episodes=4,
)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "dataset: is missing"),
        ({"environment": "x"}, "learns from a dataset"),
        ({"dataset": "rehearsal/points", "settings": {"refined": {}}}, "Did you mean `refine`"),
        ({"dataset": "rehearsal/points", "preset": "big"}, "unknown preset"),
    ],
)
def test_mistakes_are_told_before_anything_starts(given, said):
    with pytest.raises(UserError, match=said):
        trainable("rehearsal", **given)


def test_proposals_are_named_by_stage_and_checked():
    assert ASK.request("t", {"refine.goal": 2.0, "pretrain": {"steps": 5}}).configs["pretrain"]["steps"] == 5
    with pytest.raises(UserError, match=r"goal: names no stage.*refine\.goal"):
        ASK.request("t", {"goal": 2.0})
    with pytest.raises(UserErrors, match="unknown key"):
        ASK.request("t", {"refine.gaol": 2.0})


@pytest.fixture
def walker(tmp_path):
    """Makes a trial's actor without Ray, in a folder of its own."""

    def make(name: str) -> PlainWalk:
        (tmp_path / name).mkdir(exist_ok=True)
        made = PlainWalk.__new__(PlainWalk)
        made._logdir = str(tmp_path / name)
        made._trial_info = None
        type(made).logdir = property(lambda self: self._logdir)
        made.setup({"refine.goal": 1.5}, ASK, None)
        return made

    return make


def test_a_trial_restored_from_tunes_checkpoint_goes_on_as_if_nothing_had_been(walker, tmp_path):
    undisturbed, left = walker("one"), walker("two")
    first = [undisturbed.step() for _ in range(3)]
    assert [said["step"] for said in first] == [10, 20, 30]
    assert [said["done"] for said in first] == [False, False, True]
    assert left.step() == first[0]
    left.save_checkpoint(str(tmp_path / "kept"))
    other = walker("three")
    other.load_checkpoint(str(tmp_path / "kept"))
    assert [other.step(), other.step()] == first[1:]


def test_a_stage_of_a_trials_own_is_computed_once(tmp_path):
    import torch
    from flowsweep.trainables.artifacts import Finished, Provenance
    from flowsweep.trainables.base import Snapshot

    store = OwnStore(tmp_path)
    with store.acquire("k", "t") as claim:
        claim.publish(Snapshot({"x": torch.ones(1)}, {}), Provenance())
    assert isinstance(store.acquire("k", "t"), Finished)
    assert store.load("k").tensors["x"].item() == 1


@pytest.mark.slow
def test_a_real_tuner_with_its_own_scheduler_searches_it(tmp_path, monkeypatch):
    import flowsweep
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    made = flowsweep.trainable(
        "rehearsal", dataset="rehearsal/points", settings=SETTINGS, evaluate_every_steps=10, episodes=4
    )
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        results = tune.Tuner(
            made,
            param_space={"refine.goal": tune.grid_search([-1.0, 0.0, 1.0, 2.0]), "refine.rate": 0.3},
            tune_config=tune.TuneConfig(
                metric="refine/return", mode="max",
                scheduler=ASHAScheduler(time_attr="step", max_t=30, grace_period=10, reduction_factor=2),
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
        ).fit()  # fmt: skip
    finally:
        ray.shutdown()
    assert not results.errors
    best = results.get_best_result()
    assert best.config["refine.goal"] == 2.0
    assert best.metrics["step"] == 30
    assert best.metrics["refine/return"] > 0.9
    assert len(list((tmp_path / "home" / "stages").glob("*"))) >= 1, "the stage before was shared"
