"""FiDec's networks and policies as configurations and stored outputs name them.

Legend: P lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

from ..base import Lane, Snapshot
from ..nets import MLP
from ..population import lane_values, shared_config, stacked
from .config import RefinementFields
from .fisher import Metric
from .flow import Flow
from .losses import Policy
from .policy import Guidance, RefinedPolicy
from .sampling import FisherSettings

C = TypeVar("C", bound=RefinementFields)


def refinement(
    lanes: Sequence[Lane[C]],
    states: int,
    actions: int,
    device: str,
    *,
    tanh_gelu: bool = False,
    traces: Sequence[float] | None = None,
) -> Policy:
    """How the P lanes make refined actions, from their configurations and, where asked for, [P] mean traces."""
    config = shared_config(lanes)
    trace = None if traces is None else torch.tensor(traces, device=device)
    damping = lane_values(lanes, "damping_value", device)
    return Policy(
        network=MLP(states + actions, actions, config.hidden, tanh_gelu=tanh_gelu),
        scale=lane_values(lanes, "residual_scale", device),
        form=config.residual_form,
        radius=lane_values(lanes, "kl_radius", device),
        metric=Metric(config.damping, damping, config.normalization, trace),
        project=config.constraint == "per_state_projection",
    )


def critic_network(
    config: RefinementFields, states: int, actions: int, *, tanh_gelu: bool = False, affine_norm: bool = False
) -> MLP:
    """The critic ensemble Q(s, a)."""
    return MLP(
        states + actions,
        1,
        config.hidden,
        layer_norm=True,
        members=config.critic_members,
        tanh_gelu=tanh_gelu,
        affine_norm=affine_norm,
    )


def rebuilt_policy(
    outputs: Sequence[Snapshot],
    config: RefinementFields,
    flow: Flow,
    policy: Policy,
    critic: MLP,
    fisher: FisherSettings,
) -> RefinedPolicy:
    """The refined policies of stored residuals and critics, one lane per output."""
    device = flow.mean.device
    guidance = Guidance.of(config, critic, stacked(outputs, "critic", device))
    return RefinedPolicy(flow, policy, stacked(outputs, "residual", device), fisher, guidance)
