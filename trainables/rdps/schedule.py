"""How a sampler runs: its settings, the noise levels on the way down, and one step between two of them.

Legend: P lanes, B chains, D unknowns; s noise level. States are x0 + s z (variance exploding); the variance preserving
form is the same process in other units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .config import SamplerName, Solver

Draw = Callable[[int], torch.Tensor]
"""[count, P, B, D] standard normal numbers, each chain's from its own stream."""

RHO = 7.0
"""Exponent of the schedule (Karras et al., 2022, equation 5)."""


@dataclass(frozen=True)
class Settings:
    """How a sampler runs.

    Attributes:
        sampler: which.
        levels: noise levels on the way down.
        sigma_max, sigma_min: the first and the last.
        guidance: factor of the likelihood's pull, a number or [P, 1, 1].
        solver: of the guided reverse process.
        ode_steps, langevin_steps, langevin_step: of DAPS; ``ode_steps`` of Huber-CG as well.
        regularization, learning_rate: of RED-diff, numbers or [P, 1, 1].
    """

    sampler: SamplerName = "dps_annealed"
    levels: int = 80
    sigma_max: float = 10.0
    sigma_min: float = 0.01
    guidance: torch.Tensor | float = 1.0
    solver: Solver = "ancestral"
    ode_steps: int = 5
    langevin_steps: int = 40
    langevin_step: torch.Tensor | float = 0.5
    regularization: torch.Tensor | float = 0.25
    learning_rate: torch.Tensor | float = 0.1


def noise_levels(largest: float, smallest: float, count: int) -> list[float]:
    """``count`` levels from largest to smallest, evenly spaced in s^(1/7)."""
    if count == 1:
        return [largest]
    first, last = largest ** (1 / RHO), smallest ** (1 / RHO)
    return [(first + place / (count - 1) * (last - first)) ** RHO for place in range(count)]


def ancestral(
    x: torch.Tensor, denoised: torch.Tensor, level: float, following: float, draw: Draw
) -> torch.Tensor:
    """The next state, drawn given that x0 is ``denoised``."""
    if following == 0:
        return denoised
    kept = (following / level) ** 2
    return denoised + kept * (x - denoised) + following * (1 - kept) ** 0.5 * draw(1)[0]
