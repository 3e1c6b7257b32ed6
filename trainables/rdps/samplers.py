"""From noise to posterior samples: the reverse process with guidance, and one way in to every sampler.

Legend: P lanes, B chains, D unknowns, M observations; s noise level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from .guidance import Inverse, Point, dps_annealed, dps_norm, pigdm, point, tmpd
from .inner import daps, huber_cg, reddiff
from .schedule import Draw, Settings, ancestral, noise_levels

SCORES: dict[str, Callable[[Inverse, Point], torch.Tensor]] = {
    "dps_annealed": dps_annealed,
    "pigdm": pigdm,
    "tmpd": tmpd,
}
APART: dict[str, Callable[[Inverse, Settings, Draw], torch.Tensor]] = {
    "daps": daps,
    "huber_cg": huber_cg,
    "reddiff": reddiff,
}
FAR = 1e12
"""State beyond which a denoiser may break: the sampler has already."""


@dataclass(frozen=True)
class Samples:
    """What a sampler leaves.

    Attributes:
        x: [P, B, D].
        calls: of the denoiser per chain, products with its Jacobian counted as calls.
        denoiser_failed: [P, B] whether the denoiser turned a state within bounds into a non-finite one.
    """

    x: torch.Tensor
    calls: int
    denoiser_failed: torch.Tensor


class Counted:
    """A prior that counts how often it is asked, and notices what it breaks."""

    def __init__(self, prior):
        self.prior, self.variance, self.dtype = prior, prior.variance, prior.dtype
        self.calls = 0
        self.failed: torch.Tensor | None = None
        if hasattr(prior, "covariance"):
            self.covariance = prior.covariance

    def denoise(self, x: torch.Tensor, level: float) -> torch.Tensor:
        """As the prior's."""
        self.calls += 1
        denoised = self.prior.denoise(x, level)
        self._look(x, denoised)
        return denoised

    def denoise_vjp(self, x: torch.Tensor, level: float):
        """As the prior's."""
        self.calls += 1
        denoised, vjp = self.prior.denoise_vjp(x, level)
        self._look(x, denoised)

        def counted(v: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return vjp(v)

        return denoised, counted

    def _look(self, x: torch.Tensor, denoised: torch.Tensor) -> None:
        broke = (x.abs() < FAR).all(-1) & ~denoised.isfinite().all(-1)
        self.failed = broke if self.failed is None else self.failed | broke


@torch.no_grad()
def sample(inverse: Inverse, settings: Settings, draw: Draw) -> Samples:
    """One posterior sample per chain.

    Args:
        inverse: the problem with its data [P, B, M].
        settings: which sampler, and how.
        draw: the chains' random numbers.
    """
    counted = Counted(inverse.prior)
    inverse = replace(inverse, prior=counted)
    run = APART.get(settings.sampler, reverse_process)
    x = run(inverse, settings, draw)
    failed = counted.failed
    return Samples(
        x,
        counted.calls,
        failed if failed is not None else torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device),
    )


@torch.no_grad()
def unconditional(prior, settings: Settings, draw: Draw) -> torch.Tensor:
    """Samples of the prior itself, [P, B, D], by the ancestral process."""
    schedule = noise_levels(settings.sigma_max, settings.sigma_min, settings.levels)
    x = settings.sigma_max * draw(1)[0]
    for level, following in zip(schedule, [*schedule[1:], 0.0], strict=True):
        x = ancestral(x, prior.denoise(x, level), level, following, draw)
    return x


def reverse_process(inverse: Inverse, settings: Settings, draw: Draw) -> torch.Tensor:
    """The guided reverse process: DPS, PiGDM and TMPD."""
    schedule = noise_levels(settings.sigma_max, settings.sigma_min, settings.levels)
    x = settings.sigma_max * draw(1)[0]
    for level, following in zip(schedule, [*schedule[1:], 0.0], strict=True):
        if settings.sampler == "dps_norm":
            at = point(inverse, x, level)
            step = settings.guidance * dps_norm(inverse, at)
            x = ancestral(x, at.denoised, level, following, draw) + step
        elif settings.solver == "heun":
            x = _heun(inverse, settings, x, level, following)
        else:
            x = ancestral(x, guided(inverse, settings, x, level), level, following, draw)
    return x


def guided(inverse: Inverse, settings: Settings, x: torch.Tensor, level: float) -> torch.Tensor:
    """D(x, s) + s^2 times the likelihood's score: the denoiser of the posterior, by Tweedie's formula."""
    at = point(inverse, x, level)
    return at.denoised + level**2 * settings.guidance * SCORES[settings.sampler](inverse, at)


def _heun(
    inverse: Inverse, settings: Settings, x: torch.Tensor, level: float, following: float
) -> torch.Tensor:
    """The next state on the probability flow, to second order; the last step is Euler's."""
    slope = (x - guided(inverse, settings, x, level)) / level
    ahead = x + (following - level) * slope
    if following == 0:
        return ahead
    slope_ahead = (ahead - guided(inverse, settings, ahead, following)) / following
    return x + (following - level) * (slope + slope_ahead) / 2
