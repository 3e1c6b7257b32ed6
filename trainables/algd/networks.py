"""The denoiser: what it reads, and the chain of its steps from noise to an action.

It reads the state, the squashed action and the level. All three enter the first layer as sums, so that the state's
share is computed once for all K steps, and a level is a row of biases (a learned embedding with its linear layer).

Legend: P lanes, K levels, B rows, O observation size, A action size, H width of the first layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from ..nets import MLP, Params
from .samplers import Sampler

LEVEL_SCALE = 0.1
"""Standard deviation of the levels' biases at the start."""


@dataclass(frozen=True)
class Denoiser:
    """phi(s, a, i): the score of the noised action, and for DDPM also its noise.

    Attributes:
        sizes: O and A.
        hidden: widths.
        levels: K.
        noise_head: whether it predicts the noise too.
    """

    sizes: tuple[int, int]
    hidden: tuple[int, ...]
    levels: int
    noise_head: bool

    @cached_property
    def trunk(self) -> MLP:
        """What follows the first layer's units."""
        first, *rest = self.hidden
        outputs = self.sizes[1] * (2 if self.noise_head else 1)
        return MLP(first, outputs, tuple(rest), activation="relu")

    def init(self, generators: Sequence[torch.Generator]) -> Params:
        """Fresh parameters, Glorot-uniform as one layer over state and action."""
        observations, actions = self.sizes
        width = self.hidden[0]
        bound = math.sqrt(6 / (observations + actions + width))
        params: Params = {}
        for name, size in (("state", observations), ("action", actions)):
            drawn = [torch.empty(size, width).uniform_(-bound, bound, generator=g) for g in generators]
            params[f"{name}.weight"] = torch.stack(drawn)
        levels = [LEVEL_SCALE * torch.randn(self.levels, width, generator=g) for g in generators]
        params["level"] = torch.stack(levels)
        return params | {f"trunk.{name}": value for name, value in self.trunk.init(generators).items()}

    def of_states(self, params: Params, states: torch.Tensor) -> torch.Tensor:
        """The states' share of the first layer, [P, B, H]."""
        return torch.bmm(states, params["state.weight"])

    def heads(
        self, params: Params, trunk: Params, shared: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Score [P, B, A], and noise where it is predicted.

        Args:
            params, trunk: the parameters; :func:`trunk_of` has those of the trunk.
            shared: [P, B, H] shares of state and level in the first layer.
            actions: [P, B, A] squashed.
        """
        first = torch.baddbmm(shared, actions, params["action.weight"]).relu()
        out = self.trunk(trunk, first)
        if not self.noise_head:
            return out, None
        score, noise = out.chunk(2, -1)
        return score, noise

    def score_at(
        self, params: Params, states: torch.Tensor, actions: torch.Tensor, levels: torch.Tensor
    ) -> torch.Tensor:
        """The score [P, B, A] at a level of its own for every row, levels [P, B]."""
        # A product with indicators: the backward pass of a gather adds rows one by one.
        chosen = torch.nn.functional.one_hot(levels, self.levels).to(states.dtype)
        shared = torch.baddbmm(self.of_states(params, states), chosen, params["level"])
        return self.heads(params, trunk_of(params), shared, actions)[0]


def trunk_of(params: Params) -> Params:
    """The parameters of what follows the first layer."""
    return {name.removeprefix("trunk."): v for name, v in params.items() if name.startswith("trunk.")}


@dataclass(frozen=True)
class Chain:
    """All latent actions on the way.

    Attributes:
        final: [P, B, A] the latent action at the end.
        before: [K] latent actions [P, B, A] before the step at each level, detached.
    """

    final: torch.Tensor
    before: list[torch.Tensor]


def denoise(
    denoiser: Denoiser, params: Params, sampler: Sampler, states: torch.Tensor, noise: torch.Tensor
) -> Chain:
    """Draw latent actions for states [P, B, O] from standard normal noise [P, K, B, A]."""
    shared, trunk = denoiser.of_states(params, states), trunk_of(params)
    levels = params["level"].unbind(1)
    draws = noise.unbind(1)
    x = sampler.start(draws[0])
    before: list[torch.Tensor] = [x] * denoiser.levels
    for level in range(denoiser.levels - 1, -1, -1):
        before[level] = x.detach()
        heads = denoiser.heads(params, trunk, shared + levels[level].unsqueeze(1), x.tanh())
        # The noise of the last step is never used; that of the first has served as the start.
        x = sampler.step(x, level, heads, draws[level] if level else draws[0])
    return Chain(x, before)
