"""Starts a stage of a baseline on the synthetic dataset, over a pretrained flow where it wants one."""

from __future__ import annotations

import pytest
import torch
from flowsweep.trainables.base import Lane, Learner
from flowsweep.trainables.baselines import FQL, IFQL, REBRAC
from flowsweep.trainables.baselines.config import ActorCriticConfig, DistillConfig, ValueConfig
from flowsweep.trainables.fidec.config import PretrainConfig

torch.set_num_threads(1)

SYSTEMS = {system.name: system for system in (FQL, IFQL, REBRAC)}
FLOW = PretrainConfig(steps=20, hidden=(16, 16), batch_size=32, flow_steps=2)
SIZES = {"steps": 20, "hidden": (16, 16), "batch_size": 32}
SMALL = {
    "fql": DistillConfig(**SIZES),
    "ifql": ValueConfig(**SIZES, action_samples=4),
    "rebrac": ActorCriticConfig(**SIZES),
}


@pytest.fixture(scope="session")
def small():
    """The smallest sensible configuration of a system's own stage, with changes."""
    return lambda system, **changes: SMALL[system].model_copy(update=changes)


@pytest.fixture(scope="session")
def flows(dataset):
    """A pretrained flow of each of two seeds."""
    found = []
    for seed in (0, 1):
        learner = FQL.stage("pretrain").start([Lane(FLOW, seed)], dataset, "cpu")
        learner.advance(FLOW.steps)
        found.append(learner.outputs()[0])
    return found


@pytest.fixture(scope="session")
def start(dataset, flows):
    """Starts a system's own stage over lanes given as (config, seed)."""

    def start(system: str, lanes, source=None) -> Learner:
        built = [Lane(config, seed, {"pretrain": flows[seed]}) for config, seed in lanes]
        return SYSTEMS[system].stages[-1].start(built, source or dataset, "cpu")

    return start
