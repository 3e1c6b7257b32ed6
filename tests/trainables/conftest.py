"""A small synthetic dataset for the tests of every system."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from flowsweep.trainables.data.dataset import DatasetInfo, FlatDataset
from torch.utils._python_dispatch import TorchDispatchMode

torch.set_num_threads(1)


def synthetic(episodes: int = 8, length: int = 40, observations: int = 3, actions: int = 2) -> FlatDataset:
    """Random states; actions around a state-dependent mean; reward for being near another mean."""
    random = np.random.default_rng(0)
    count = episodes * length
    states = random.normal(size=(episodes * (length + 1), observations)).astype(np.float32)
    rows = np.concatenate([np.arange(length) + episode * (length + 1) for episode in range(episodes)])
    mean = 0.3 * np.tanh(states[rows] @ random.normal(size=(observations, actions)))
    noise = random.normal(size=(count, actions)) * np.linspace(0.05, 0.3, actions)
    taken = np.clip(mean + noise, -0.999, 0.999).astype(np.float32)
    rewards = -np.square(taken - mean - 0.2).mean(1).astype(np.float32)
    boundaries = np.arange(count) % length == length - 1
    info = DatasetInfo(
        name="tests/synthetic-v0",
        fingerprint="synthetic",
        episodes=episodes,
        transitions=count,
        observation_dim=observations,
        action_dim=actions,
        action_low=(-1.0,) * actions,
        action_high=(1.0,) * actions,
        reward_min=float(rewards.min()),
        reward_max=float(rewards.max()),
        terminal_share=0.0,
    )
    masks = np.ones(count, np.float32)
    return FlatDataset(info, states, rows, taken, rewards, masks, boundaries)


@pytest.fixture(scope="session")
def dataset() -> FlatDataset:
    """320 transitions, 3 observation and 2 action entries."""
    return synthetic()


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., FlatDataset]:
    """Makes a synthetic dataset of any size."""
    return synthetic


class HostTransfers(TorchDispatchMode):
    """Refuses to bring a number from the device to the program, which would make a GPU wait in every update."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        assert function is not torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(keywords or {}))


@pytest.fixture(scope="session")
def no_host_transfers() -> Callable[[], HostTransfers]:
    """A context in which reading a tensor's number fails."""
    return HostTransfers
