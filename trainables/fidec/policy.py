"""FiDec's policies as evaluation and export use them: raw observations in, actions in [-1, 1] out.

Legend: P lanes, B environments per lane, M samples of the flow, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from ..critics import critic_values
from ..nets import MLP, Params
from .config import RefinementFields
from .fisher import Fisher
from .flow import Flow
from .losses import Policy
from .sampling import FisherSettings, draw


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
class Guidance:
    """The critics' say in acting.

    Attributes:
        kind: ``plain``, none; ``best_of_n``, which base action is refined; ``iterated``, which of the actions met
            while refining over and over is taken.
        samples: base actions to choose from, where there is a choice.
        iterations: refinements, where there are several.
        network: the critic ensemble; its mean decides.
        critics: its parameters [P, ...].
    """

    kind: Literal["plain", "best_of_n", "iterated"]
    samples: int
    iterations: int
    network: MLP
    critics: Params

    @classmethod
    def of(cls, config: RefinementFields, network: MLP, critics: Params) -> Guidance:
        """As a configuration asks."""
        return cls(config.test_policy, config.test_samples, config.test_iterations, network, critics)

    @property
    def base_actions(self) -> int:
        """Base actions drawn per state."""
        return self.samples if self.kind == "best_of_n" else 1

    @property
    def refinements(self) -> int:
        """Refinements one after another."""
        return self.iterations if self.kind == "iterated" else 1

    def best(self, states: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """The index of the best candidate of every row.

        Args:
            states: [P, B, O]; candidates: [P, B, n, A] actions in the box.

        Returns:
            [P, B]; the first of equals.
        """
        values = critic_values(
            self.network, self.critics, _repeated(states, candidates.shape[2]), candidates.flatten(1, 2)
        )
        return values.mean(1).view(candidates.shape[:3]).argmax(-1)


@dataclass(frozen=True)
class RefinedPolicy:
    """The flow's action plus the residual's displacement.

    Attributes:
        flow: the frozen base policy.
        policy: how a base action is refined.
        residual: parameters [P, ...].
        fisher: how Fisher matrices are estimated; only read when displacements are projected state by state.
        guidance: what the critics choose.
    """

    flow: Flow
    policy: Policy
    residual: Params
    fisher: FisherSettings
    guidance: Guidance

    @torch.no_grad()
    def act(self, observations: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Actions in [-1, 1] for raw observations [P, B, O]; fresh noise for every action."""
        states = self.flow.normalized(observations.to(self.flow.mean.device))
        base, fisher = self._base(states, generators)
        met = [base]
        for _ in range(self.guidance.refinements):
            met.append(self.policy.refine(self.residual, states, met[-1], fisher))
        if self.guidance.kind != "iterated":
            return met[-1]
        actions = torch.stack(met, 2)
        return _picked(actions, self.guidance.best(states, actions))

    def _base(self, states: torch.Tensor, generators: Sequence[torch.Generator]):
        """A base action in the box for every state and, if displacements are projected, its Fisher matrix."""
        count = self.guidance.base_actions
        samples, fisher = self._samples(states, generators, count)
        candidates = samples[:, :, :count].clamp(-1, 1)
        if count == 1:
            index = states.new_zeros(states.shape[:2], dtype=torch.long)
        else:
            index = self.guidance.best(states, candidates)
        if self.fisher.scope == "local" and fisher.scores is not None:
            fisher = Fisher(scores=_picked(fisher.scores, index).unsqueeze(2))
        return _picked(candidates, index), fisher

    def _samples(self, states: torch.Tensor, generators: Sequence[torch.Generator], count: int):
        """At least ``count`` samples [P, B, M, A] of the flow at every state, with Fisher matrices if projecting."""
        batch, size, device = states.shape[1], self.flow.action_dim, states.device
        if not self.policy.project:
            noise = _normal(generators, batch, count, size).to(device)
            samples = self.flow.sample(_repeated(states, count), noise.flatten(1, 2))
            return samples.view(noise.shape), Fisher()
        noise = _normal(generators, batch, max(count, self.fisher.samples), 2 * size + 1).to(device)
        # The last column becomes uniform through the normal distribution function.
        parts = (noise[..., :size], noise[..., size:-1], torch.special.ndtr(noise[..., -1:]))
        return draw(self.flow, states, parts, self.fisher)


def _repeated(states: torch.Tensor, count: int) -> torch.Tensor:
    """[P, B, O] to [P, B * count, O], every row ``count`` times in a row."""
    return states.repeat_interleave(count, 1)


def _picked(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Entry ``index`` [P, B] of values [P, B, n, A]; [P, B, A]."""
    return values.take_along_dim(index[..., None, None], 2).squeeze(2)
