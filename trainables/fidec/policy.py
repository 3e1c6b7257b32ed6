"""FiDec's policies as evaluation and export use them: raw observations in, actions in [-1, 1] out.

Legend: P lanes, B environments per lane, K Fisher samples, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..nets import Params
from .fisher import Fisher
from .flow import Flow
from .losses import Policy
from .sampling import FisherSettings, draw_one


def _normal(generators: Sequence[torch.Generator], *size: int) -> torch.Tensor:
    return torch.stack([torch.randn(size, generator=g, device=g.device) for g in generators])


@dataclass(frozen=True)
class BasePolicy:
    """The behaviour-cloned flow."""

    flow: Flow

    @torch.no_grad()
    def act(self, observations: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Actions in [-1, 1] for raw observations [P, B, O]; fresh noise for every action."""
        device = self.flow.mean.device
        states = self.flow.normalized(observations.to(device))
        noise = _normal(generators, states.shape[1], self.flow.action_dim).to(device)
        return self.flow.sample(states, noise).clamp(-1, 1)


@dataclass(frozen=True)
class RefinedPolicy:
    """The flow's action plus the residual's displacement.

    Attributes:
        flow: the frozen base policy.
        policy: how a base action is refined.
        residual: parameters [P, ...].
        fisher: how Fisher matrices are estimated; only read when displacements are projected state by state.
    """

    flow: Flow
    policy: Policy
    residual: Params
    fisher: FisherSettings

    @torch.no_grad()
    def act(self, observations: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Actions in [-1, 1] for raw observations [P, B, O]; fresh noise for every action."""
        device = self.flow.mean.device
        states = self.flow.normalized(observations.to(device))
        batch, size = states.shape[1], self.flow.action_dim
        if self.policy.project:
            noise = _normal(generators, batch, self.fisher.samples, 2 * size + 1).to(device)
            # The last column becomes uniform through the normal distribution function.
            noise = (noise[..., :size], noise[..., size:-1], torch.special.ndtr(noise[..., -1:]))
            base, fisher = draw_one(self.flow, states, noise, self.fisher)
        else:
            base, fisher = self.flow.sample(states, _normal(generators, batch, size).to(device)), Fisher()
        return self.policy.refine(self.residual, states, base.clamp(-1, 1), fisher)
