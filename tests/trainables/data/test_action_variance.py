"""The variance of actions at alike states, against behaviour whose variance is known."""

import numpy as np
import pytest
from flowsweep.trainables.data.action_variance import action_variance
from flowsweep.trainables.data.dataset import DatasetInfo, FlatDataset
from flowsweep.trainables.errors import UserError

EPISODES, LENGTH = 100, 100


def made(states, actions, episodes=EPISODES) -> FlatDataset:
    """A dataset of states [N, O] and actions [N, A] in equally long episodes."""
    count = len(states)
    length = count // episodes
    rows = np.arange(count) + np.arange(count) // length
    stored = np.zeros((count + episodes, states.shape[1]), np.float32)
    stored[rows] = states
    ends = np.arange(count) % length == length - 1
    info = DatasetInfo(
        name="tests/made-v0",
        fingerprint="made",
        episodes=episodes,
        transitions=count,
        observation_dim=states.shape[1],
        action_dim=actions.shape[1],
        action_low=(-1.0,) * actions.shape[1],
        action_high=(1.0,) * actions.shape[1],
        reward_min=0.0,
        reward_max=0.0,
        terminal_share=0.0,
    )
    ones = np.ones(count, np.float32)
    return FlatDataset(info, stored, rows, actions.astype(np.float32), 0 * ones, ones, ends)


def scattered(seed=0, count=EPISODES * LENGTH):
    """States [N, 2] that fill a square, in no order, and a smooth mean action [N, 2] of them."""
    states = np.random.default_rng(seed).uniform(-1, 1, size=(count, 2))
    return states, 0.3 * np.sin(states @ np.array([[1.0, 0.5], [-0.5, 1.0]]))


def test_the_noise_of_a_smooth_policy_is_found_per_action_entry():
    states, mean = scattered()
    noise = np.array([0.05, 0.3])
    actions = mean + noise * np.random.default_rng(1).normal(size=mean.shape)
    found = action_variance(made(states, actions))
    assert found.per_dimension == pytest.approx(tuple(noise**2), rel=0.06)
    assert abs(found.mean - np.mean(noise**2)) < 4 * found.std_error
    assert found.std_error < 0.03 * found.mean
    assert (found.neighbours, found.queries) == (5, 2_000)


def test_a_policy_without_noise_has_almost_none():
    states, mean = scattered()
    assert action_variance(made(states, mean)).mean < 1e-3 * mean.var()


def test_two_ways_of_acting_show_as_their_spread():
    states, _ = scattered()
    right = np.random.default_rng(2).random(len(states)) < 0.3
    found = action_variance(made(states, np.where(right, 0.6, -0.4)[:, None]))
    assert abs(found.mean - 0.3 * 0.7 * 1.0**2) < 4 * found.std_error


def test_moments_of_one_episode_hide_what_others_do_there():
    # Episodes run side by side, finely sampled along the way, each acting in one of two ways throughout.
    random = np.random.default_rng(3)
    lane, right = random.normal(size=EPISODES), random.permutation(EPISODES) % 2
    along = np.tile(np.linspace(-1, 1, LENGTH), EPISODES)
    data = made(np.stack([along, np.repeat(lane, LENGTH)], 1), np.repeat(right - 0.5, LENGTH)[:, None])
    found = action_variance(data)
    assert abs(found.mean - 0.5 * 0.5) < 3 * found.std_error
    assert action_variance(data, other_episodes=False).mean < 0.8 * 0.25


def spread_and_error(build) -> tuple[float, float]:
    """Standard deviation of the estimate over 40 datasets, and the standard error it states."""
    found = [action_variance(build(np.random.default_rng(seed)), queries=200) for seed in range(40)]
    return float(np.std([each.mean for each in found], ddof=1)), float(np.mean([e.std_error for e in found]))


def test_the_standard_error_is_the_spread_over_datasets():
    def build(random):
        states = random.uniform(-1, 1, size=(2_000, 2))
        return made(states, 0.2 * random.normal(size=states.shape), episodes=50)

    spread, error = spread_and_error(build)
    assert 0.7 < error / spread < 1.4


def test_the_standard_error_knows_that_an_episode_s_actions_are_alike():
    def build(random):
        states = random.uniform(-1, 1, size=(2_000, 2))
        noise = np.repeat(random.choice([0.05, 0.4], size=50), 40)[:, None]
        return made(states, noise * random.normal(size=states.shape), episodes=50)

    spread, error = spread_and_error(build)
    assert 0.7 < error / spread < 1.4


def test_sparse_data_are_given_away_by_leaving_half_of_the_episodes_out():
    states, mean = scattered()
    noisy = mean + 0.1 * np.random.default_rng(4).normal(size=mean.shape)
    dense = action_variance(made(states, noisy))
    assert dense.sparser_mean == pytest.approx(dense.mean, rel=0.05)
    few = action_variance(made(states[:200], np.sin(6 * states[:200]), episodes=20))
    assert few.sparser_mean > 1.3 * few.mean


def test_units_and_constant_entries_of_the_observations_do_not_matter():
    states, mean = scattered()
    noisy = mean + 0.1 * np.random.default_rng(5).normal(size=mean.shape)
    stretched = np.concatenate([states * [1e3, 1e-2] + [7, 0], np.full((len(states), 1), 3.0)], axis=1)
    assert action_variance(made(stretched, noisy)).mean == pytest.approx(
        action_variance(made(states, noisy)).mean, rel=1e-3
    )


def test_the_same_seed_looks_at_the_same_states():
    states, mean = scattered()
    data = made(states, mean + 0.1 * np.random.default_rng(6).normal(size=mean.shape))
    first = action_variance(data, queries=100, states=5_000, seed=1)
    assert action_variance(data, queries=100, states=5_000, seed=1) == first
    assert action_variance(data, queries=100, states=5_000, seed=2).mean != first.mean


def test_too_few_episodes_to_compare_are_refused():
    states, mean = scattered(count=100)
    data = made(states, mean, episodes=5)
    with pytest.raises(UserError, match="too small to see how much actions vary: it takes 6 episodes"):
        action_variance(data)
    assert action_variance(data, other_episodes=False).queries == 100
    assert action_variance(made(states, mean, episodes=10)).sparser_mean is None


def test_fewer_states_than_neighbours_are_refused():
    states, mean = scattered(count=5)
    with pytest.raises(UserError, match="it takes 6 transitions"):
        action_variance(made(states, mean, episodes=1), other_episodes=False)
