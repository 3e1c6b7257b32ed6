"""Environments small enough to play in a test, and policies whose behaviour is known."""

import pytest
import torch
from flowsweep.trainables.data.dataset import EvaluationSpec

torch.set_num_threads(1)


class GoalSeeker:
    """Walks straight towards the goal with some noise: solves some starts of an open maze, not all."""

    def __init__(self, lanes: int, noise: float = 0.5):
        self.lanes, self.noise = lanes, noise

    def act(self, observations, generators):
        position, velocity, goal = observations[..., :2], observations[..., 2:4], observations[..., 4:6]
        drift = 10.0 * (goal - position) - velocity
        noise = torch.stack([torch.randn(drift.shape[1:], generator=g) for g in generators])
        return drift + self.noise * noise


class Wanderer:
    """Random actions, whatever it sees."""

    def __init__(self, actions: int):
        self.actions = actions

    def act(self, observations, generators):
        shape = (observations.shape[1], self.actions)
        return torch.stack([torch.rand(shape, generator=g) * 2 - 1 for g in generators])


@pytest.fixture
def point_maze() -> EvaluationSpec:
    return EvaluationSpec(
        library="gymnasium",
        id="PointMaze_UMaze-v3",
        kwargs={"continuing_task": False},
        observation_keys=("observation", "desired_goal"),
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        max_episode_steps=60,
    )


@pytest.fixture
def teleport_maze(ogbench_installed) -> EvaluationSpec:
    """Draws from NumPy's global generator at reset and, in its teleporters, while stepping."""
    return EvaluationSpec(
        library="ogbench",
        id="pointmaze-teleport-navigate-singletask-v0",
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        max_episode_steps=60,
        global_rng=True,
    )


@pytest.fixture
def goal_seeker():
    return GoalSeeker


@pytest.fixture
def wanderer():
    return Wanderer
