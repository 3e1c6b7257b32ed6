"""What the stages take before anything was measured: counted multiply-adds over a stated speed.

The counts assume a middling problem (24 observation and 6 action entries, 500,000 states), since a stage does
not know its dataset; measured figures replace these estimates once a stage has run.
"""

from __future__ import annotations

from itertools import pairwise

from ..base import Cost
from .config import PoolsConfig, PretrainConfig, RefineConfig

MULTIPLY_ADDS_PER_CORE_S = 35e9
"""Sustained on one AVX-512 core by these networks, activations included (benchmarks/fidec_update.py)."""
OBSERVATIONS, ACTIONS, STATES = 24, 6, 500_000
UPDATE_OVERHEAD_S = 3e-4
"""Python, gathering and optimiser of one update."""


def _forward(hidden: tuple[int, ...], inputs: int, outputs: int) -> int:
    return sum(a * b for a, b in pairwise((inputs, *hidden, outputs)))


def _bytes(parameters: int) -> int:
    return 4 * parameters


def pretrain_cost(config: PretrainConfig) -> Cost:
    """A forward and a backward pass (twice a forward) of the velocity network per update."""
    flow = _forward(config.hidden, OBSERVATIONS + ACTIONS + 1, ACTIONS)
    seconds = 3 * flow * config.batch_size / MULTIPLY_ADDS_PER_CORE_S + UPDATE_OVERHEAD_S
    return Cost(core_s=config.steps * seconds, disk_bytes=_bytes(flow))


def pools_cost(config: PoolsConfig) -> Cost:
    """Ten velocity evaluations per sample and one per score, with the default velocity network."""
    flow = _forward(PretrainConfig().hidden, OBSERVATIONS + ACTIONS + 1, ACTIONS)
    evaluations = 10 * config.samples + (0 if config.fisher_scope == "identity" else config.fisher_samples)
    geometry = 0 if config.fisher_scope == "identity" else min(config.fisher_samples, ACTIONS) * ACTIONS
    return Cost(
        core_s=STATES * evaluations * flow / MULTIPLY_ADDS_PER_CORE_S,
        disk_bytes=4 * STATES * (config.base_actions * ACTIONS + geometry),
    )


def refine_cost(config: RefineConfig) -> Cost:
    """Residual and critics of one update; with fresh base actions also the flow's samples at both states."""
    residual = _forward(config.hidden, OBSERVATIONS + ACTIONS, ACTIONS)
    critics = config.critic_members * _forward(config.hidden, OBSERVATIONS + ACTIONS, 1)
    per_row = 4 * residual + (1 + 3 + 2) * critics
    if config.base_actions == "fresh":
        flow = _forward(config.hidden, OBSERVATIONS + ACTIONS + 1, ACTIONS)
        per_row += (10 * (1 + PoolsConfig().fisher_samples) + PoolsConfig().fisher_samples) * flow
    seconds = per_row * config.batch_size / MULTIPLY_ADDS_PER_CORE_S + UPDATE_OVERHEAD_S
    flow = _forward(config.hidden, OBSERVATIONS + ACTIONS + 1, ACTIONS)
    return Cost(core_s=config.steps * seconds, disk_bytes=_bytes(flow + residual + critics))
