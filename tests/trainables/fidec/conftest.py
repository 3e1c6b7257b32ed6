"""A whole FiDec walk over the synthetic dataset."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from flowsweep.trainables.base import Lane, Learner
from flowsweep.trainables.data.dataset import FlatDataset
from flowsweep.trainables.fidec import JOINT_SYSTEM, SYSTEM
from flowsweep.trainables.fidec.config import PoolsConfig, PretrainConfig, RefineConfig

torch.set_num_threads(1)


SMALL = {
    "pretrain": PretrainConfig(steps=20, hidden=(16, 16), batch_size=32, flow_steps=2),
    "pools": PoolsConfig(steps=4, base_actions=4, fisher_samples=4),
    "refine": RefineConfig(steps=20, hidden=(16, 16), batch_size=32),
    "joint": JOINT_SYSTEM.presets["default"]()["joint"].model_copy(
        update={"steps": 20, "hidden": (16, 16), "batch_size": 32, "fisher_samples": 4}
    ),
}


@pytest.fixture(scope="session")
def small():
    """The smallest sensible configuration of a stage, with changes."""
    return lambda stage, **changes: SMALL[stage].model_copy(update=changes)


@pytest.fixture(scope="session")
def start(dataset: FlatDataset):
    """Starts a stage over lanes given as (config, seed), walking through the earlier stages first."""

    def start(
        stage: str, lanes, source: FlatDataset | None = None, pools: PoolsConfig | None = None
    ) -> Learner:
        source = source or dataset
        system = JOINT_SYSTEM if stage == "joint" else SYSTEM
        names = [s.name for s in system.stages]
        built = []
        for config, seed in lanes:
            upstream = {}
            for earlier in names[: names.index(stage)]:
                chosen = pools if earlier == "pools" and pools else SMALL[earlier]
                learner = SYSTEM.stage(earlier).start([Lane(chosen, seed, dict(upstream))], source, "cpu")
                learner.advance(chosen.steps)
                upstream[earlier] = learner.outputs()[0]
            built.append(Lane(config, seed, upstream))
        return system.stage(stage).start(built, source, "cpu")

    return start


@pytest.fixture
def official(dataset):
    """The official preset of the joint system in small, with parameters moved away from where they start."""
    masks = (np.arange(len(dataset.masks)) % 3 > 0).astype(np.float32)
    sizes = {"hidden": (16, 16), "batch_size": 32, "steps": 20}
    config = JOINT_SYSTEM.presets["official"]()["joint"].model_copy(update=sizes)
    source = dataclasses.replace(dataset, masks=masks)
    learner = JOINT_SYSTEM.stage("joint").start([Lane(config, 0)], source, "cpu")
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for params in (*learner.modules.values(), learner.targets):
            for value in params.values():
                value += 0.2 * torch.randn(value.shape, generator=draw)
    return learner
