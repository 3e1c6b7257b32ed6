"""A plan, and a trial before it trains, try whether what is looked at can be reported on the data."""

from __future__ import annotations

import warnings
from pathlib import Path

import gymnasium
import minari
import numpy as np
import pytest
from flowsweep.platform.paths import Home
from flowsweep.platform.store.stages import StageStore
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.spec import SweepSpec
from flowsweep.trainables.config import parse
from flowsweep.trainables.envs import fit
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.request import TrialRequest
from flowsweep.trainables.source_ref import SourceRef
from flowsweep.trainables.walk import Walk
from minari.data_collector import EpisodeBuffer

SWEEP = {
    "name": "fid",
    "system": "fidec",
    "stages": {
        "pretrain": {"steps": 20, "hidden": [8, 8], "batch_size": 16},
        "pools": {"base_actions": 2, "fisher_samples": 2},
        "refine": {"steps": 20, "hidden": [8, 8], "batch_size": 16},
    },
    "space": {"refine.kl_radius": {"low": 0.001, "high": 0.5, "log": True}},
    "search": {"sampler": "random", "trials": 1},
    "seeds": {"tune": [0], "test": [10]},
    "evaluation": {"episodes": 1},
    "confirm": {"top": 0},
}


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Write a dataset of actions of that size, of Pendulum or of no environment."""
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    fit.forget()
    draw = np.random.default_rng(0)

    def dataset(actions: int, environment: str | None = "Pendulum-v1") -> str:
        episodes = [
            EpisodeBuffer(
                observations=draw.uniform(-1, 1, (31, 3)).astype(np.float32),
                actions=draw.uniform(-2, 2, (30, actions)).astype(np.float32),  # type: ignore[arg-type]
                rewards=draw.uniform(-1, 0, 30), terminations=np.zeros(30, bool),  # type: ignore[arg-type]
                truncations=np.arange(30) == 29,  # type: ignore[arg-type]
            )
            for _ in range(4)
        ]  # fmt: skip
        box = gymnasium.spaces.Box
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            minari.create_dataset_from_buffers(
                "odd/pend-v0", episodes, observation_space=box(-8, 8, (3,), np.float32),
                action_space=box(-2, 2, (actions,), np.float32),
                **({"env": gymnasium.spec(environment)} if environment else {}),
            )  # fmt: skip
        return "odd/pend-v0"

    return dataset


def sweep(dataset: str, metric: str, **changes) -> SweepSpec:
    objective = {"metric": metric, "direction": "maximize"}
    return parse(SweepSpec, {**SWEEP, "dataset": dataset, "objective": objective, **changes})


def walk(plan_or_name, metrics: tuple[str, ...], folder: Path) -> list:
    configs = make_plan(sweep(plan_or_name, "refine/critic_loss"), Home(folder)).resolved.trial_configs({})
    request = TrialRequest(
        trial="t0", system="fidec", source=SourceRef(kind="dataset", name=plan_or_name), configs=configs, seeds=(0,),
        through="refine", episodes=1, metrics=metrics,
    )  # fmt: skip
    return list(Walk(request, StageStore(folder / "stages"), folder / "t0"))


@pytest.mark.parametrize(
    ("actions", "environment", "metric", "told"),
    [
        (2, "Pendulum-v1", "return", r"2 numbers in \[-2, 2\], but Pendulum-v1.* 1 number"),
        (1, "Pendulum-v1", "success_rate", "never says whether the task is solved.*success_rate"),
        (1, None, "return", "names no environment"),
    ],
)
def test_a_score_that_cannot_be_is_refused_by_the_plan_and_by_the_worker_before_it_trains(
    dataset, tmp_path, actions, environment, metric, told
):
    name = dataset(actions, environment)
    with pytest.raises(UserError, match=told):
        make_plan(sweep(name, f"refine/{metric}"), Home(tmp_path / "home"))
    with pytest.raises(UserError, match=told):
        walk(name, (metric,), tmp_path)
    assert not list((tmp_path / "stages").glob("*/*/*.safetensors")), "something was trained"


def test_a_limit_on_what_is_never_reported_is_refused_too(dataset, tmp_path):
    limits = [{"metric": "refine/success_rate", "min": 0.5}]
    with pytest.raises(UserError, match="success_rate"):
        make_plan(sweep(dataset(1), "refine/return", constraints=limits), Home(tmp_path / "home"))


def test_on_a_cluster_the_plan_there_tries(dataset, tmp_path):
    make_plan(sweep(dataset(2), "refine/return"), Home(tmp_path / "home"), elsewhere=True)


@pytest.mark.parametrize(("actions", "environment"), [(1, None), (2, "Pendulum-v1")])
def test_what_needs_no_environment_is_trained_to_its_end_and_the_plan_says_what_is_missing(
    dataset, tmp_path, actions, environment
):
    name = dataset(actions, environment)
    plan = make_plan(sweep(name, "refine/critic_loss"), Home(tmp_path / "home"))
    assert any(warning.startswith("policies are not scored") for warning in plan.warnings)
    events = walk(name, ("critic_loss",), tmp_path)
    (scored,) = [event for event in events if event.kind == "evaluated"]
    assert (scored.metrics, scored.episodes_spent, scored.step) == ({}, 0, 20)
    losses = [
        event.metrics["critic_loss"]
        for event in events
        if event.kind == "progress" and event.stage == "refine"
    ]
    assert losses
