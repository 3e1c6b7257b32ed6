import pytest
import torch
from flowsweep.trainables.base import Lane, Snapshot
from flowsweep.trainables.errors import Diverged, UserError
from flowsweep.trainables.fidec.config import RefineConfig
from flowsweep.trainables.population import (
    MetricMeans,
    lane_values,
    prefixed,
    shared_config,
    stacked,
    under,
)


def lane(**changes):
    return Lane(RefineConfig(**changes), seed=0)


def test_lanes_may_differ_in_scalar_hyperparameters():
    lanes = [lane(kl_radius=0.5), lane(kl_radius=0.25)]
    assert shared_config(lanes) is lanes[0].config
    assert lane_values(lanes, "kl_radius", "cpu").tolist() == [0.5, 0.25]


def test_lanes_may_not_differ_in_structure():
    with pytest.raises(UserError, match="hidden: must be equal for all lanes"):
        shared_config([lane(), lane(hidden=(8,))])


def test_means_are_taken_per_lane_over_the_updates():
    means = MetricMeans()
    means.add({"loss": torch.tensor([1.0, 10.0])})
    means.add({"loss": torch.tensor([3.0, 30.0])})
    assert means.read(2) == {"loss": [2.0, 20.0]}


def test_a_value_that_is_not_finite_is_found_with_its_name_lane_and_step():
    means = MetricMeans()
    means.add({"fine": torch.tensor([1.0, 1.0]), "loss": torch.tensor([1.0, float("nan")])})
    means.add({"fine": torch.tensor([1.0, 1.0]), "loss": torch.tensor([1.0, 1.0])})
    with pytest.raises(Diverged, match="loss of lane 1 became non-finite at step 7"):
        means.read(7)


def test_lanes_are_stacked_from_snapshots_by_prefix():
    snapshots = [Snapshot({"net.w": torch.full((2,), float(i)), "other": torch.zeros(1)}) for i in range(3)]
    assert stacked(snapshots, "net", "cpu")["w"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert list(under(prefixed({"w": torch.zeros(1)}, "net"), "net")) == ["w"]
