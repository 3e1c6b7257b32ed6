"""Critic ensembles, as every method with a Q function uses them.

Legend: P lanes, E critics, B batch, O observation size, A action size. States are normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from .nets import MLP, Params

Aggregation = Literal["mean", "min"]


def critic_values(network: MLP, critics: Params, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Q of every critic; [P, E, B]."""
    return network(critics, torch.cat([states, actions], -1)).squeeze(-1)


def aggregated(values: torch.Tensor, aggregation: Aggregation) -> torch.Tensor:
    """One value of an ensemble's [P, E, B]; [P, B]."""
    return values.amin(1) if aggregation == "min" else values.mean(1)


def squared_td_loss(
    critics: Params, states: torch.Tensor, actions: torch.Tensor, target: torch.Tensor, network: MLP
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    """Mean square of Q_j(s, a) - y over batch and ensemble.

    Args:
        critics: parameters that receive the gradient.
        states: [P, B, O]; actions: [P, B, A] of the data.
        target: [P, B], y, without gradient.
        network: the critic ensemble.
    """
    error = critic_values(network, critics, states, actions) - target.unsqueeze(1)
    loss = error.square().mean((-1, -2))
    return loss, {"critic_loss": loss, "td_error": error.abs().mean((-1, -2))}


def inverse_size(values: torch.Tensor) -> torch.Tensor:
    """1 / mean |Q| of values [P, B], cut from the gradient; [P]. It frees a loss from the reward's scale."""
    return 1 / values.detach().abs().mean(-1).clamp_min(1e-6)
