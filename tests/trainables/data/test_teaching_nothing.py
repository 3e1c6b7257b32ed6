"""Datasets nothing could be learnt from: refused, or told with what is used of them."""

import itertools

import gymnasium
import numpy as np
import pytest
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.errors import UserError

Box, Dict = gymnasium.spaces.Box, gymnasium.spaces.Dict
FLOAT_MAX = float(np.finfo(np.float32).max)


@pytest.fixture
def acted(write, episode):
    """Open a dataset with these actions [N, A] in these bounds; what was found."""

    numbers = itertools.count()

    def acted(actions, low, high, **changes) -> list[str]:
        actions = np.asarray(actions, np.float32)
        space = Box(np.float32(low) * np.ones(actions.shape[1], np.float32), np.float32(high) * np.ones(actions.shape[1], np.float32))  # fmt: skip
        name = write(f"odd/toy-v{next(numbers)}", [episode(len(actions), actions=actions, **changes), episode(2, actions=actions[:2])], None, space)  # fmt: skip
        return [f"{finding.level}: {finding.text}" for finding in open_dataset(name).info.findings]

    return acted


DRAWN = np.random.default_rng(0).uniform(-1, 1, (200, 2))


@pytest.mark.parametrize("bound", [1e4, 1e6, FLOAT_MAX])
def test_bounds_far_beyond_the_actions_are_refused_with_the_share_that_is_used(acted, bound):
    with pytest.raises(
        UserError, match=r"entry \d uses [\d.e-]+ of its range \(-.* to .*\), from -0.99\d+ to 0.99\d+"
    ):
        acted(DRAWN, -bound, bound)


def test_bounds_beyond_the_actions_are_told_with_the_share_that_is_used(acted):
    assert any("uses 0.0098 of its range (-100 to 100)" in text for text in acted(DRAWN, -100, 100))
    assert not any("of its range" in text for text in acted(DRAWN, -1, 1))


def test_one_outlier_hides_no_idle_range(acted):
    actions = DRAWN.copy()
    actions[0] = 100
    assert any("of its range" in text for text in acted(actions, -100, 100))


def test_actions_that_never_change_are_told(acted):
    assert "warning: every action is the same: there is nothing to imitate" in acted(np.zeros((9, 2)), -1, 1)
    assert "note: action entries that never change: 1" in acted(DRAWN * [1, 0], -1, 1)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        ((-1, 0), (1, 0), "action entry 1 .0 to 0. has one bound for both sides"),
        ((-1, -np.inf), (1, 1), "action entry 1 .-inf to 1. is unbounded"),
    ],
)
def test_bounds_are_called_what_they_are(write, episode, low, high, told):
    space = Box(np.array(low, np.float32), np.array(high, np.float32))
    actions = np.zeros((3, 2), np.float32)
    with pytest.raises(UserError, match=told):
        open_dataset(write("odd/toy-v0", [episode(3, actions=actions)], None, space))


@pytest.mark.parametrize("size", [1e39, 1e300])
def test_rewards_beyond_float32_are_refused_as_they_are_stored(write, episode, size):
    rewards = np.array([0.0, -size, 1.0])
    with pytest.raises(UserError, match=r"1 rewards are beyond what float32 holds, such as -1e\+(39|300)"):
        open_dataset(write("odd/toy-v0", [episode(3, rewards=rewards)]))


def test_large_rewards_are_told(write, episode):
    name = write("odd/toy-v0", [episode(3, rewards=np.array([0.0, 1e30, 1.0]))])
    assert any("rewards reach 1e+30" in finding.text for finding in open_dataset(name).info.findings)


def test_observations_beyond_float32_are_refused(write, episode):
    states = np.array([[0.0, 1e300]] * 4)
    space = Box(-np.inf, np.inf, (2,), np.float64)
    with pytest.raises(UserError, match=r"observations are not finite in 4 places.*float32"):
        open_dataset(write("odd/toy-v0", [episode(3, observations=states)], space))


def test_parts_of_a_dict_that_are_left_out_are_named(write, episode):
    space = Dict(
        image=Box(0, 255, (8, 8, 3), np.uint8),
        mode=gymnasium.spaces.Discrete(3),
        state=Box(-9, 9, (4,), np.float32),
    )
    states = {
        "image": np.zeros((4, 8, 8, 3), np.uint8), "mode": np.zeros(4, int), "state": np.ones((4, 4), np.float32),
    }  # fmt: skip
    info = open_dataset(write("odd/toy-v0", [episode(3, observations=states)], space)).info
    (told,) = [finding for finding in info.findings if "left out" in finding.text]
    assert (told.level, told.text) == (
        "warning",
        "of an observation only state is learnt from; left out: image (8x8x3 uint8 Box), mode (int64 Discrete)",
    )
    assert info.entries == (("state",),)


def test_where_a_goal_was_reached_is_left_out_with_a_note(write, episode):
    part = Box(-9, 9, (2,), np.float64)
    space = Dict(observation=part, achieved_goal=part, desired_goal=part)
    states = dict.fromkeys(space.spaces, np.ones((4, 2)))
    info = open_dataset(write("odd/toy-v0", [episode(3, observations=states)], space)).info
    assert [finding.level for finding in info.findings if "achieved_goal" in finding.text] == ["note"]


def test_nested_parts_are_learnt_from_but_not_scored(write, episode):
    part = Box(-9, 9, (2,), np.float32)
    states = {"a": {"b": np.ones((4, 2), np.float32)}, "z": np.ones((4, 2), np.float32)}
    name = write(
        "odd/toy-v0",
        [episode(3, observations=states)],
        Dict(a=Dict(b=part), z=part),
        env=gymnasium.spec("Pendulum-v1"),
    )
    info = open_dataset(name).info
    assert info.observation_dim == 4
    assert info.unscored == "its observation a.b lies deeper than environments are read"


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("terminations", np.array([0.0, 0.5, 1.0]), "holds float64 values where 0 and 1 were expected"),
        ("terminations", np.array([0, 1, 2]), "holds int64 values where 0 and 1 were expected"),
        ("rewards", np.array([1 + 2j, 0, 0]), "holds complex128 values where numbers were expected"),
    ],
)
def test_values_of_another_kind_are_not_cast_silently(write, episode, column, values, told):
    with pytest.raises(UserError, match=told):
        open_dataset(write("odd/toy-v0", [episode(3, **{column: values})]))


def test_terminations_as_whole_numbers_are_read(write, episode):
    data = open_dataset(write("odd/toy-v0", [episode(3, terminations=np.array([0, 0, 1]))]))
    assert data.masks.tolist() == [1, 1, 0]
