"""What stays where it is, counted within episodes only."""

import sys
from pathlib import Path

import numpy as np

# At the end: some of the scripts there have names that modules elsewhere have too.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from flowsweep.trainables.data.dataset import DatasetInfo, FlatDataset
from hovering import distances


def test_distances_are_taken_within_episodes():
    one_per_step, standing = np.arange(6.0), np.zeros(5)  # each with its last state
    x = np.concatenate([one_per_step, standing])
    info = DatasetInfo(
        name="tests/walk-v0",
        fingerprint="walk",
        episodes=2,
        transitions=9,
        observation_dim=3,
        action_dim=1,
        action_low=(-1.0,),
        action_high=(1.0,),
        reward_min=0.0,
        reward_max=0.0,
        terminal_share=0.0,
    )
    states = np.stack([x, 0 * x, 100 * x], axis=1).astype(np.float32)
    rows, ends = np.array([0, 1, 2, 3, 4, 6, 7, 8, 9]), np.array([False] * 4 + [True] + [False] * 3 + [True])
    zeros = np.zeros(9, np.float32)
    walk = FlatDataset(info, states, rows, zeros[:, None], zeros, zeros, ends)
    assert distances(walk, 2).tolist() == [2, 2, 2, 0, 0]
