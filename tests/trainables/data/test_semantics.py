"""What rewards, masks and evaluations mean, family by family, on hand-made and on real episodes."""

import gymnasium
import numpy as np
import pytest
from flowsweep.trainables.data.flat import open_dataset
from gymnasium.envs.registration import EnvSpec

NEAR, FAR = 0.3, 5.0


def goal_space(observation_dim):
    box = gymnasium.spaces.Box
    return gymnasium.spaces.Dict(
        {
            "observation": box(-np.inf, np.inf, (observation_dim,), np.float64),
            "achieved_goal": box(-np.inf, np.inf, (2,), np.float64),
            "desired_goal": box(-np.inf, np.inf, (2,), np.float64),
        }
    )


def reaching(episode, goals, rewards, observation_dim=4):
    """An episode whose state k is at (k, 0), with the goal shown at each state and the reward of each step."""
    steps = len(rewards)
    observation = np.zeros((steps + 1, observation_dim))
    observation[:, 0] = np.arange(steps + 1)
    return episode(
        steps,
        observations={
            "observation": observation,
            "achieved_goal": observation[:, :2],
            "desired_goal": np.array(goals, float),
        },
        actions=np.zeros((steps, 2), np.float32),
        rewards=np.array(rewards, float),
    )


def maze_spec(**kwargs):
    return EnvSpec(
        "PointMaze_UMaze-v3", "x:y", max_episode_steps=300, kwargs={"reset_target": True, **kwargs}
    )


def test_our_point_maze_pays_minus_one_until_the_goal_ends_the_task(umaze_dataset):
    data = open_dataset(umaze_dataset)
    following = data.states[data.rows + 1]
    reached = np.linalg.norm(following[:, :2] - following[:, 4:], axis=1) <= 0.45
    assert reached.sum() > 100
    assert np.array_equal(data.rewards, reached - 1.0)
    assert np.array_equal(data.masks, 1.0 - reached)
    assert data.boundaries[reached].all(), "an episode ends when its goal is reached"


def test_our_point_maze_shows_one_goal_throughout_an_episode(umaze_dataset):
    data = open_dataset(umaze_dataset)
    assert np.array_equal(data.states[data.rows, 4:], data.states[data.rows + 1, 4:])
    changes = np.any(data.states[data.rows[1:], 4:] != data.states[data.rows[:-1], 4:], axis=1)
    assert changes[data.boundaries[:-1]].mean() > 0.95


def test_our_point_maze_is_scored_with_one_goal_that_ends_the_episode(umaze_dataset):
    evaluation = open_dataset(umaze_dataset).info.evaluation
    assert (evaluation.library, evaluation.id, evaluation.max_episode_steps) == (
        "gymnasium",
        "PointMaze_UMaze-v3",
        300,
    )
    assert evaluation.observation_keys == ("observation", "desired_goal")
    assert evaluation.kwargs["continuing_task"] is False
    assert evaluation.kwargs["reset_target"] is False
    assert not evaluation.global_rng


def test_d4rl_point_maze_has_its_stale_first_goal_mended(write, episode):
    old, new = (9, 9), (3, 0)
    stale = reaching(episode, [old, new, new, new], [0, 0, 1])
    write("D4RL/pointmaze/toy-v2", [stale], goal_space(4), eval_env=maze_spec(), env=None)
    data = open_dataset("D4RL/pointmaze/toy-v2")
    assert data.states[:, 4:].tolist() == [list(new)] * 4
    assert data.rewards.tolist() == [-1, -1, 0]
    assert data.masks.tolist() == [1, 1, 0]
    assert any("issue 265" in finding.text for finding in data.info.findings)
    assert data.info.evaluation.kwargs == {"reset_target": False, "continuing_task": False}


def test_d4rl_point_maze_with_dense_rewards_keeps_them_and_masks_by_distance(write, episode):
    goals = [(2, 0)] * 4
    dense = reaching(episode, goals, np.exp([-1.0, -0.0, -1.0]))
    write("D4RL/pointmaze/toy-dense-v2", [dense], goal_space(4))
    data = open_dataset("D4RL/pointmaze/toy-dense-v2")
    np.testing.assert_allclose(data.rewards, np.exp([-1.0, 0, -1.0]), rtol=1e-6)
    assert data.masks.tolist() == [1, 0, 1]


def test_d4rl_ant_maze_is_29_numbers_and_masks_where_the_reward_was_paid(write, episode):
    ant = reaching(episode, [(0, 0)] * 5, [0, 1, 1, 0], observation_dim=27)
    other = reaching(episode, [(0, 0)] * 2, [0], observation_dim=27)
    write("D4RL/antmaze/toy-v1", [ant, other], goal_space(27))
    data = open_dataset("D4RL/antmaze/toy-v1")
    assert data.info.observation_dim == 29
    assert data.states[2, :3].tolist() == [2, 0, 2], "where the ant is, then its observation"
    assert data.rewards.tolist() == [-1, 0, 0, -1, -1]
    assert data.masks.tolist() == [1, 0, 0, 1, 1]
    assert data.boundaries.tolist() == [False, False, False, True, True]


def test_any_other_dataset_keeps_its_rewards_and_masks_its_terminations(write, episode):
    spec = EnvSpec("Hopper-v5", "x:y", max_episode_steps=1000, kwargs={"frame_skip": 4})
    write("mujoco/toy/medium-v0", [episode(2, terminated=True), episode(2)], eval_env=spec)
    data = open_dataset("mujoco/toy/medium-v0")
    assert data.masks.tolist() == [1, 0, 1, 1]
    assert data.rewards.tolist() == pytest.approx([0, 0.01, 0, 0.01])
    assert (data.info.evaluation.id, data.info.evaluation.kwargs) == ("Hopper-v5", {"frame_skip": 4})


def test_reference_scores_are_carried_over(umaze_dataset):
    info = open_dataset(umaze_dataset).info
    assert (info.ref_min_score, info.ref_max_score) == (0.18, 1.0)
