"""What the stages take before anything was measured: counted multiply-adds over a stated speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

from ..base import Cost, StageConfig
from ..data.dataset import DatasetInfo
from .config import PoolsConfig, PretrainConfig, RefineConfig

MULTIPLY_ADDS_PER_CORE_S = 35e9
"""Sustained on one AVX-512 core by these networks, activations included (benchmarks/fidec_update.py)."""
UPDATE_OVERHEAD_S = 3e-4
"""Python, gathering and optimiser of one update."""
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


def pretrain_cost(configs: FidecConfigs, data: DatasetInfo) -> Cost:
    """A forward and a backward pass (twice a forward) of the velocity network per update."""
    config, flow = configs.pretrain, _velocity(configs, data)
    seconds = 3 * flow * config.batch_size / MULTIPLY_ADDS_PER_CORE_S + UPDATE_OVERHEAD_S
    return Cost(core_s=config.steps * seconds, disk_bytes=4 * flow)


def pools_cost(configs: FidecConfigs, data: DatasetInfo) -> Cost:
    """Ten velocity evaluations per sample and one per score, at every state."""
    config, states = configs.pools, data.transitions + data.episodes
    scores = 0 if config.fisher_scope == "identity" else config.fisher_samples
    per_state = (EVALUATIONS_PER_SAMPLE * config.samples + scores) * _velocity(configs, data)
    kept = config.base_actions * data.action_dim + min(scores, data.action_dim) * data.action_dim
    return Cost(core_s=states * per_state / MULTIPLY_ADDS_PER_CORE_S, disk_bytes=4 * states * kept)


def refine_cost(configs: FidecConfigs, data: DatasetInfo) -> Cost:
    """Residual and critics of one update; with fresh base actions also the flow's samples at both states."""
    config, pools = configs.refine, configs.pools
    residual = _network(config.hidden, data.observation_dim + data.action_dim, data.action_dim)
    critics = config.critic_members * _network(config.hidden, data.observation_dim + data.action_dim, 1)
    per_row = 4 * residual + (1 + 3 + 2) * critics
    if config.base_actions == "fresh":
        samples = EVALUATIONS_PER_SAMPLE * (1 + pools.fisher_samples) + pools.fisher_samples
        per_row += samples * _velocity(configs, data)
    seconds = per_row * config.batch_size / MULTIPLY_ADDS_PER_CORE_S + UPDATE_OVERHEAD_S
    return Cost(core_s=config.steps * seconds, disk_bytes=4 * (_velocity(configs, data) + residual + critics))


def _velocity(configs: FidecConfigs, data: DatasetInfo) -> int:
    return _network(configs.pretrain.hidden, data.observation_dim + data.action_dim + 1, data.action_dim)


def _network(hidden: tuple[int, ...], inputs: int, outputs: int) -> int:
    """Multiply-adds of a forward pass of one row, which is also about the number of parameters."""
    return sum(a * b for a, b in pairwise((inputs, *hidden, outputs)))
