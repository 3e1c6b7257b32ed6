"""Small learners of every method."""

import gymnasium
import numpy as np
import pytest
import torch
from flowsweep.trainables.algd import SYSTEM as ALGD
from flowsweep.trainables.base import Lane
from flowsweep.trainables.config import parse
from flowsweep.trainables.envs.constrained import Constrained
from flowsweep.trainables.envs.constrained_names import EnvironmentSource, open_environment
from flowsweep.trainables.safe_rl import CAL, SAC_LAGRANGIAN
from gymnasium.spaces import Box

SYSTEMS = {system.name: system for system in (ALGD, SAC_LAGRANGIAN, CAL)}
SMALL = {"hidden": [16, 16], "policy_hidden": [16, 16], "batch_size": 32, "steps": 200}
WARM_STEPS = 70


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class Rope(gymnasium.Env):
    """A point on a rope; may end the task, break, or answer with what is not a number at a step of an episode."""

    observation_space = Box(-10.0, 10.0, (2,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, terminate_at=0, break_at=0, nan_at=0, break_in=()):
        self.terminate_at, self.break_at, self.nan_at, self.break_in = (
            terminate_at,
            break_at,
            nan_at,
            break_in,
        )
        self.episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.count, self.episodes = self.np_random.normal(size=1), 0, self.episodes + 1
        return self._seen(), {}

    def step(self, action):
        self.count += 1
        if self.count == self.break_at and (not self.break_in or self.episodes in self.break_in):
            raise RuntimeError("the rope tore")
        self.place = self.place + 0.1 * action
        reward = float("nan") if self.count == self.nan_at else -float(self.place[0] ** 2)
        cost = {"cost": float(self.place[0] > 0)}
        return self._seen(), reward, self.count == self.terminate_at, False, cost

    def _seen(self):
        return np.array([self.place[0], self.count / 10], np.float32)


def rope(steps=7, **behaviour) -> EnvironmentSource:
    """The rope as a source; episodes are cut after ``steps``."""
    made = Constrained("rope-v0", "rope", lambda render: Rope(**behaviour), episode_steps=steps, limit=2.0)
    return EnvironmentSource(made)


@pytest.fixture
def start():
    """Makes a learner of `train` from configurations and seeds, warm-ups included."""

    def started(system, pairs, source=None, warm=WARM_STEPS):
        source = source or open_environment("detour-v0")
        warmup, train = SYSTEMS[system].stages
        lanes = []
        for config, seed in pairs:
            first = warmup.start([Lane(parse(warmup.config_type, {"steps": warm}), seed)], source, "cpu")
            first.advance(warm)
            parsed = parse(train.config_type, SMALL | config, "train")
            lanes.append(Lane(parsed, seed, {"warmup": first.outputs()[0]}))
        return train.start(lanes, source, "cpu")

    return started
