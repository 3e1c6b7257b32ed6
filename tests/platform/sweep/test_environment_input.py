"""Mistakes in a sweep that learns in an environment are found by `plan`, each with its key and a way out."""

import pytest
import yaml
from flowsweep.platform.paths import Home
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.spec import load_spec
from flowsweep.trainables.errors import UserError

GOOD = {
    "name": "mine",
    "system": "algd",
    "environment": "detour-v0",
    "stages": {"warmup": {"steps": 10}, "train": {"steps": 20}},
    "space": {"train.rho": {"low": 0.1, "high": 1.0}},
    "objective": {"metric": "train/return", "direction": "maximize"},
    "constraints": ["train/cost <= 1"],
    "search": {"trials": 2},
    "evaluation": {"episodes": 2},
    "seeds": {"tune": [0], "test": [100]},
    "confirm": {"top": 0},
}
TRAIN = GOOD["stages"]


@pytest.fixture
def plan(tmp_path):

    def planned(**changes):
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump({key: v for key, v in (GOOD | changes).items() if v is not None}))
        return make_plan(load_spec(file), Home(tmp_path / "home"))

    return planned


def test_a_right_one_is_planned(plan):
    plan()


def with_train(**settings):
    return {"stages": {"warmup": {"steps": 10}, "train": {"steps": 20, **settings}}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"environment": "detuor-v0"}, "Did you mean `detour-v0`"),
        ({"environment": None}, "environment"),
        ({"environment": None, "dataset": "flowsweep/pointmaze-umaze-v0"}, "environment"),
        ({"dataset": "flowsweep/pointmaze-umaze-v0"}, "environment"),
        ({"environment": "gymnasium/CartPole-v1"}, "not continuous but Discrete"),
        ({"environment": "gymnasium/Pendulum-v1"}, "reports no cost"),
        (with_train(cost_limit=0), "train.cost_limit"),
        (with_train(cost_limit=-3), "train.cost_limit"),
        (with_train(denoising_steps=0), "train.denoising_steps"),
        (with_train(score_samples=0), "train.score_samples"),
        (with_train(cost_critics=0), "train.cost_critics"),
        ({"constraints": ["train/costs <= 1"]}, "train/costs"),
        ({"constraints": ["train/best_of_price <= 1"]}, "train/best_of_price"),
    ],
    ids=str,
)
def test_a_wrong_one_is_refused(plan, changes, said):
    with pytest.raises(UserError, match=said):
        plan(**changes)
