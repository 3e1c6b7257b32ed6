"""Rows of the tolerance task: Gaussian behaviour, wide along two directions and narrow along all others.

Every row ends its task, and the next one begins at another state. Minari stores them in episodes of a hundred all the
same: an episode of its own costs 14 KB.

Legend: N steps, E episodes, O = 4 observation entries.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np

from ...envs.tolerance import (
    BEST_RETURN,
    ENVIRONMENT_ID,
    OBSERVATIONS,
    Tolerance,
    ToleranceEnvironment,
    register,
)
from .recipe import Description, Episodes

RANDOM_ROWS = 100_000
EPISODE_STEPS = 100


def make_shard(options: Mapping[str, Any], steps: int, seeds: np.random.SeedSequence) -> Episodes:
    """Draw ``steps`` states and one action at each."""
    task, random = Tolerance(**options), np.random.default_rng(seeds)
    lengths = np.full(-(-steps // EPISODE_STEPS), EPISODE_STEPS)
    lengths[-1] -= lengths.sum() - steps
    rows = np.arange(steps) + np.arange(steps) // EPISODE_STEPS
    observations = random.uniform(-1, 1, (steps + len(lengths), OBSERVATIONS)).astype(np.float32)
    states = observations[rows]
    actions = task.behaviour(states, random).astype(np.float32)
    return Episodes(
        lengths=lengths.astype(np.int64),
        observations={"": observations},
        actions=actions,
        rewards=task.rewards(states, actions).astype(np.float32),
        terminations=np.ones(steps, bool),
        truncations=np.zeros(steps, bool),
    )


def finish(options: Mapping[str, Any], episodes: Episodes) -> tuple[Episodes, Description]:
    """The rows as they are; the environment, and the returns of uniformly random and of best actions."""
    register()
    spec = copy.deepcopy(gymnasium.spec(ENVIRONMENT_ID))
    spec.entry_point = f"{ToleranceEnvironment.__module__}:{ToleranceEnvironment.__name__}"
    spec.kwargs.update(options)
    task, environment = Tolerance(**options), ToleranceEnvironment(**options)
    return episodes, Description(
        observation_space=environment.observation_space,
        action_space=environment.action_space,
        environment=spec,
        evaluation=spec,
        ref_min_score=random_return(task),
        ref_max_score=BEST_RETURN,
        requirements=[f"flowsweep=={version('flowsweep')}"],
        text=(
            f"One step, {task.actions} action entries, rotated. Two directions spread {task.loose_spread} and carry "
            f"the reward; the others spread {task.tight_spread} and must stay within {task.tolerance} of a target "
            "that depends on the state, or the reward is 0."
        ),
        algorithm="Gaussian behaviour",
    )


def random_return(task: Tolerance) -> float:
    """Mean reward of uniformly random actions."""
    random = np.random.default_rng(0)
    states = random.uniform(-1, 1, (RANDOM_ROWS, OBSERVATIONS))
    return float(task.rewards(states, random.uniform(-1, 1, (RANDOM_ROWS, task.actions))).mean())
