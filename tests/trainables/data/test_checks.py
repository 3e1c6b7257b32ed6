import numpy as np
import pytest
from flowsweep.trainables.data import checks
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.data.source import Spaces


def warnings_of(findings):
    return [finding.text for finding in findings if finding.level == "warning"]


def scale(actions, low=(-1.0,), high=(1.0,)):
    spaces = Spaces({(): 1}, np.array(low), np.array(high))
    return checks.scale_actions(np.array(actions, np.float64).reshape(-1, len(low)), spaces, "toy-v0")


def look(rewards, masks, lengths):
    return checks.look_over(np.array(rewards, np.float32), np.array(masks, np.float32), np.array(lengths))


def test_actions_beyond_their_bounds_are_clipped_and_told():
    scaled, findings = scale([0.0, 1.5, -0.5, -3.0])
    assert scaled[:, 0].tolist() == pytest.approx([0, 1 - 1e-5, -0.5, -(1 - 1e-5)], abs=1e-7)
    assert warnings_of(findings) == [
        "50.00% of action entries lie beyond the declared bounds, at most 3 times as far out; they are clipped"
    ]


def test_actions_inside_a_symmetric_unit_box_are_not_touched():
    inside = np.random.default_rng(0).uniform(-0.99, 0.99, size=1000).astype(np.float32)
    scaled, findings = scale(inside)
    assert np.array_equal(scaled[:, 0], inside)
    assert findings == []


def test_mostly_saturated_actions_are_told():
    _, findings = scale([1, -1, 1, 0.5])
    assert warnings_of(findings) == ["75% of action entries are at a bound, where a flow has little to model"]


def test_constant_rewards_are_told():
    assert "every reward is -1" in warnings_of(look([-1, -1], [1, 0], [1, 1]))[0]


def test_a_single_episode_is_told():
    assert "single episode" in warnings_of(look([0, 1], [1, 0], [2]))[0]


def test_ends_everywhere_or_nowhere_are_told():
    assert "67% of transitions end the task" in warnings_of(look([0, 1, 1], [1, 0, 0], [2, 1]))[0]
    assert any("no transition ends the task" in finding.text for finding in look([0, 1], [1, 1], [1, 1]))


def test_an_ordinary_dataset_draws_no_warning(umaze_dataset):
    assert warnings_of(open_dataset(umaze_dataset).info.findings) == []
