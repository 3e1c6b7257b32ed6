"""Draws from a frozen flow: base actions of a state, and the Fisher matrix they give.

Legend: P lanes, B states, M samples per state, K of them for the Fisher matrix, O observation, A action size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from ..streams import Streams
from .config import FisherFields, PoolsConfig
from .fisher import Fisher, fisher_times, outer_mean, scores_of_samples
from .flow import Flow


@dataclass(frozen=True)
class FisherSettings:
    """How Fisher matrices are estimated; the fields are those of :class:`FisherFields`, plus samples per draw and
    whether the last of them, instead of the first, are those the matrix is read off."""

    scope: Literal["state", "local", "identity"]
    estimator: Literal["gaussian", "velocity"]
    point: Literal["noised", "clean"]
    time: float
    width: float
    fisher_samples: int
    clip: bool
    samples: int
    own: bool = False

    @classmethod
    def of_pools(cls, config: PoolsConfig) -> FisherSettings:
        """Drawing as many samples per state as the pools need."""
        own = config.fisher_scope == "state" and config.fisher_draw == "own"
        return replace(cls.of(config, config.samples), own=own)

    @classmethod
    def of_one_action(cls, config: FisherFields) -> FisherSettings:
        """Drawing what one base action and its Fisher matrix need."""
        return cls.of(config, config.fisher_samples if config.fisher_scope == "state" else 1)

    @classmethod
    def of(cls, config: FisherFields, samples: int) -> FisherSettings:
        """The settings of a configuration, drawing ``samples`` per state."""
        fisher_samples = 1 if config.fisher_scope == "identity" else config.fisher_samples
        return cls(
            scope=config.fisher_scope,
            estimator=config.score_estimator,
            point=config.fisher_point,
            time=config.fisher_time,
            width=config.fisher_time_width,
            fisher_samples=fisher_samples,
            clip=config.clip_for_fisher,
            samples=samples,
        )

    def keeps_scores(self, action_dim: int) -> bool:
        """Whether K scores are kept instead of an A x A matrix: always for the rank-one form, which needs the
        score of one sample, and otherwise where they are the smaller of the two."""
        return self.scope == "local" or (self.scope == "state" and self.fisher_samples < action_dim)


Noise = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Normal [P, B, M, A] to start samples from, normal [P, B, M, A] and uniform [P, B, M, 1] for their scores."""


@torch.no_grad()
def draw(
    flow: Flow, states: torch.Tensor, noise: Noise, settings: FisherSettings
) -> tuple[torch.Tensor, Fisher]:
    """Samples of the flow at each state, and the Fisher geometry read off them.

    Args:
        flow: the frozen flow.
        states: [P, B, O] normalised.
        noise: random numbers for M samples per state.
        settings: how the Fisher matrix is estimated.

    Returns:
        Unclipped samples [P, B, M, A]; the Fisher matrices, with scores [P, B, K or M, A] or matrix [P, B, A, A].
        For the rank-one form every one of the M samples has its score.
    """
    start, carry, uniform = noise
    lanes, batch, count, size = start.shape
    repeated = states.unsqueeze(2).expand(-1, -1, count, -1)
    samples = flow.sample(repeated.flatten(1, 2), start.flatten(1, 2)).view(lanes, batch, count, size)
    if settings.scope == "identity":
        return samples, Fisher()
    used = count if settings.scope == "local" else settings.fisher_samples
    read = slice(count - used, count) if settings.own else slice(used)
    points = samples[:, :, read].clamp(-1, 1) if settings.clip else samples[:, :, read]
    scores = scores_of_samples(
        flow.velocity,
        repeated[:, :, read].flatten(1, 2),
        points.flatten(1, 2),
        carry[:, :, read].flatten(1, 2),
        fisher_times(uniform[:, :, read], settings.time, settings.width).flatten(1, 2),
        estimator=settings.estimator,
        point=settings.point,
    ).view(lanes, batch, used, size)
    if settings.keeps_scores(size):
        return samples, Fisher(scores=scores)
    return samples, Fisher(matrix=outer_mean(scores))


def draw_one(
    flow: Flow, states: torch.Tensor, noise: Noise, settings: FisherSettings
) -> tuple[torch.Tensor, Fisher]:
    """One unclipped sample [P, B, A] per state, the first of the draw, with the state's Fisher matrix."""
    samples, fisher = draw(flow, states, noise, settings)
    if settings.scope == "local" and fisher.scores is not None:
        fisher = Fisher(scores=fisher.scores[:, :, :1])
    return samples[:, :, 0], fisher


@dataclass(frozen=True)
class FreshNoise:
    """Random numbers of one base action and its Fisher matrix, drawn anew.

    Attributes:
        samples: of the samples the matrix is read off.
        base: [P, B, A] of the base action, where it is not the first of these samples.
    """

    samples: Noise
    base: torch.Tensor | None

    @classmethod
    def draw(cls, streams: Streams, batch: int, action_dim: int, settings: FisherSettings) -> FreshNoise:
        """Noise for ``batch`` states per lane."""
        size = (batch, settings.samples, action_dim)
        samples = (streams.normal(*size), streams.normal(*size), streams.uniform(*size[:2], 1))
        return cls(samples, streams.normal(batch, action_dim) if settings.scope == "state" else None)


@torch.no_grad()
def fresh_base(
    flow: Flow, states: torch.Tensor, noise: FreshNoise, settings: FisherSettings
) -> tuple[torch.Tensor, Fisher]:
    """An unclipped base action [P, B, A] at each state and the Fisher matrix there.

    With one matrix per state the base action is a sample of its own, so that the displaced and the measured
    actions are independent, as in the public code.
    """
    base, fisher = draw_one(flow, states, noise.samples, settings)
    return base if noise.base is None else flow.sample(states, noise.base), fisher
