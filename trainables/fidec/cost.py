"""What the stages take before anything was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from ..base import Cost, StageConfig
from ..cost import MULTIPLY_ADDS_PER_CORE_S, network_size, updates_s
from ..data.dataset import DatasetInfo
from .config import FisherFields, PoolsConfig, PretrainConfig, RefineConfig, RefinementFields
from .joint_config import JointConfig

EVALUATIONS_PER_SAMPLE = 10
"""Of the velocity network, with the default solver."""


@dataclass(frozen=True)
class FidecConfigs:
    """The configurations of all three stages: what one costs depends on the networks of another."""

    pretrain: PretrainConfig
    pools: PoolsConfig
    refine: RefineConfig

    @classmethod
    def of(cls, configs: Mapping[str, StageConfig]) -> FidecConfigs:
        """From configurations by stage name."""
        return cls(
            cast(PretrainConfig, configs["pretrain"]),
            cast(PoolsConfig, configs["pools"]),
            cast(RefineConfig, configs["refine"]),
        )


def pretrain_cost(config: PretrainConfig, data: DatasetInfo) -> Cost:
    """A forward and a backward pass (twice a forward) of the velocity network per update."""
    flow = velocity_size(config, data)
    return Cost(core_s=updates_s(config.steps, 3 * flow * config.batch_size), disk_bytes=4 * flow)


def pools_cost(configs: FidecConfigs, data: DatasetInfo) -> Cost:
    """Ten velocity evaluations per sample and one per score, at every state."""
    config, states = configs.pools, data.transitions + data.episodes
    scores = {"identity": 0, "local": config.base_actions, "state": config.fisher_samples}[
        config.fisher_scope
    ]
    per_state = (EVALUATIONS_PER_SAMPLE * config.samples + scores) * velocity_size(configs.pretrain, data)
    vectors = scores if config.fisher_scope == "local" else min(scores, data.action_dim)
    kept = (config.base_actions + vectors) * data.action_dim
    return Cost(core_s=states * per_state / MULTIPLY_ADDS_PER_CORE_S, disk_bytes=4 * states * kept)


def refine_cost(configs: FidecConfigs, data: DatasetInfo) -> Cost:
    """Residual and critics of one update; with fresh base actions also the flow's samples at both states."""
    config, velocity = configs.refine, velocity_size(configs.pretrain, data)
    per_row, size = _refinement(config, data)
    if config.base_actions == "fresh":
        per_row += _fresh_evaluations(configs.pools) * velocity
    multiply_adds = per_row * config.batch_size
    return Cost(core_s=updates_s(config.steps, multiply_adds), disk_bytes=4 * (velocity + size))


def joint_cost(config: JointConfig, data: DatasetInfo) -> Cost:
    """Flow matching, the flow's samples at both states, residual and critics of one update."""
    velocity = velocity_size(config, data)
    per_row, size = _refinement(config, data)
    multiply_adds = (per_row + (3 + _fresh_evaluations(config)) * velocity) * config.batch_size
    return Cost(core_s=updates_s(config.steps, multiply_adds), disk_bytes=4 * (velocity + size))


def velocity_size(config: PretrainConfig | JointConfig, data: DatasetInfo) -> int:
    """Multiply-adds of one evaluation of the velocity network for one row."""
    return network_size(config.hidden, data.observation_dim + data.action_dim + 1, data.action_dim)


def _refinement(config: RefinementFields, data: DatasetInfo) -> tuple[int, int]:
    """Multiply-adds per row of an update of residual and critics, and their parameters."""
    inputs = data.observation_dim + data.action_dim
    residual = network_size(config.hidden, inputs, data.action_dim)
    critics = config.critic_members * network_size(config.hidden, inputs, 1)
    return 4 * residual + (1 + 3 + 2) * critics, residual + critics


def _fresh_evaluations(config: FisherFields) -> int:
    """Of the velocity network per row: a base action at both states, and samples with their scores at one."""
    if config.fisher_scope == "identity":
        return 2 * EVALUATIONS_PER_SAMPLE
    if config.fisher_scope == "local":
        return 2 * EVALUATIONS_PER_SAMPLE + 1
    return EVALUATIONS_PER_SAMPLE * (2 + config.fisher_samples) + config.fisher_samples
