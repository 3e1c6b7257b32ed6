"""The flow policy: its velocity network, and how it is integrated from noise to an action.

Legend: P lanes, B batch, O observation size, A action size. Time runs from noise (0) to data (1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ..nets import MLP, Params

Velocity = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(states [P, B, O], points [P, B, A], times [P, B, 1]) to the flow's velocity there, [P, B, A]."""


@dataclass(frozen=True)
class Solver:
    """How a flow is integrated.

    Attributes:
        method: ``euler``, or ``midpoint`` (two evaluations per step, second order).
        steps: integration steps.
    """

    method: Literal["midpoint", "euler"]
    steps: int

    @property
    def evaluations(self) -> int:
        """Velocity evaluations per sample."""
        return self.steps * (2 if self.method == "midpoint" else 1)


def velocity_network(
    observation_dim: int, action_dim: int, hidden: tuple[int, ...], *, tanh_gelu: bool = False
) -> MLP:
    """The network v(s, x, t); time enters as one plain number."""
    return MLP(observation_dim + action_dim + 1, action_dim, hidden, tanh_gelu=tanh_gelu)


def velocity_of(network: MLP, params: Params) -> Velocity:
    """The velocity field that a network with these parameters stands for."""
    return lambda states, points, times: network(params, torch.cat([states, points, times], -1))


def sample(velocity: Velocity, states: torch.Tensor, noise: torch.Tensor, solver: Solver) -> torch.Tensor:
    """Actions of the flow, not clipped to the action box.

    Args:
        velocity: the field to follow.
        states: [P, B, O] normalised observations.
        noise: [P, B, A] standard normal starting points.
        solver: method and steps.

    Returns:
        [P, B, A].
    """
    x, h = noise, 1.0 / solver.steps
    for i in range(solver.steps):
        start = x.new_full((*x.shape[:-1], 1), i * h)
        if solver.method == "midpoint":
            middle = x + 0.5 * h * velocity(states, x, start)
            x = x + h * velocity(states, middle, start + 0.5 * h)
        else:
            x = x + h * velocity(states, x, start)
    return x


@dataclass(frozen=True)
class Flow:
    """A trained, frozen flow of P lanes: network, weights, observation scale, solver.

    Attributes:
        network: the velocity network.
        params: its parameters [P, ...], without gradient.
        mean, std: [P, 1, O] observation statistics.
        solver: how samples are made.
    """

    network: MLP
    params: Params
    mean: torch.Tensor
    std: torch.Tensor
    solver: Solver

    @property
    def action_dim(self) -> int:
        """Action size A."""
        return self.network.outputs

    @property
    def velocity(self) -> Velocity:
        """The velocity field over normalised states."""
        return velocity_of(self.network, self.params)

    def normalized(self, observations: torch.Tensor) -> torch.Tensor:
        """Raw observations [P, B, O] on the scale the networks read."""
        return (observations - self.mean) / self.std

    def sample(self, states: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Unclipped actions [P, B, A] for normalised states and standard normal noise."""
        return sample(self.velocity, states, noise, self.solver)

    def settings(self) -> dict[str, Any]:
        """What, beside the tensors, is needed to rebuild the flow (JSON)."""
        return {
            "observation_dim": self.network.inputs - self.network.outputs - 1,
            "action_dim": self.network.outputs,
            "hidden": list(self.network.hidden),
            "solver": self.solver.method,
            "flow_steps": self.solver.steps,
        }
