"""What can be set in the two stages, with ranges, defaults and meaning. Free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..base import StageConfig
from ..config import lane_field

Kind = Literal["squared", "huber", "imq", "imq_squared", "cauchy", "welsch", "tukey"]
ScaleRule = Literal["annealed", "mad", "fixed"]
SamplerName = Literal["dps_norm", "dps_annealed", "pigdm", "tmpd", "daps", "reddiff", "huber_cg"]
Solver = Literal["ancestral", "heun"]
Outliers = Literal["gross", "in_range", "shift"]

GUIDED = ("dps_norm", "dps_annealed", "pigdm", "tmpd")
GUIDANCE = {"dps_annealed": 8.0}
"""Factor of the likelihood's pull where none is given; 1 for the others."""
SOLVES = ("pigdm", "tmpd", "huber_cg")
"""Samplers that solve for the residual, by reweighted least squares."""


class PriorConfig(StageConfig):
    """The denoiser. A problem whose prior is known in closed form has nothing to train, and reads none of this."""

    steps: int = Field(default=2500, gt=0)
    """Gradient updates; the learning rate rises over the first 30 % and falls to nothing at the end. On the 1,500 digits
    more of them fit the examples ever closer and held-out images worse."""
    width: int = Field(default=256, ge=8, le=4096)
    """Width of the residual network."""
    blocks: int = Field(default=3, ge=1, le=32)
    """Blocks of the residual network."""
    batch_size: int = Field(default=256, ge=1, le=65_536)
    """Examples per update, drawn uniformly with replacement."""
    learning_rate: float = lane_field(2e-3, gt=0, le=1)
    """Adam's largest step size."""
    average_rate: float = lane_field(0.005, gt=0, le=1)
    """Share of the way the averaged weights, which are used, follow the trained ones per update."""
    log_level_mean: float = Field(default=-0.8, ge=-5, le=5)
    """Mean of the logarithm of the noise level that examples are noised with."""
    log_level_std: float = Field(default=1.3, gt=0, le=5)
    """Its standard deviation."""
    seed: int = Field(default=0, ge=0)
    """Seed of its training. A trial's own seeds leave it alone: they draw problems and samples over one prior."""


class PosteriorConfig(StageConfig):
    """How posterior samples are drawn, and under what contamination they are judged. A step is one further problem."""

    steps: int = Field(default=24, gt=0)
    """Problems solved, in the order of the seed's list: a longer run begins with a shorter one's problems."""
    samples: int = Field(default=4, ge=1, le=4096)
    """Posterior samples per problem and data set."""
    problems_at_once: int = Field(default=8, ge=1, le=1024)
    """Problems whose chains run in one program."""

    sampler: SamplerName = "dps_annealed"
    """What draws the samples."""
    levels: int = Field(default=80, ge=2, le=5000)
    """Noise levels on the way down; for `reddiff`, steps of its descent."""
    solver: Solver = "ancestral"
    """How `dps_annealed`, `pigdm` and `tmpd` go from level to level: drawn, or along the probability flow."""
    sigma_max: float = Field(default=10.0, gt=0, le=1000)
    """Largest noise level, many times the prior's standard deviation."""
    sigma_min: float = Field(default=0.01, gt=0, le=1)
    """Smallest noise level."""
    guidance: float | None = lane_field(None, gt=0, le=1e6)
    """Factor of the likelihood's pull; null is 8 for `dps_annealed`, whose denominator is cautious, else 1."""
    noise_factor: float = lane_field(1.0, gt=0, le=100)
    """Standard deviation of the noise the sampler assumes, over the true one."""

    kind: Kind = "cauchy"
    """The loss of a residual; `squared` is the published sampler."""
    threshold: float = lane_field(2.4, gt=0, le=1e6)
    """Standardised residual from which on an observation counts less, in the loss's own units."""
    scale: ScaleRule = "annealed"
    """What residuals are divided by: their predictive deviation at the level, their own spread, or the noise."""
    weights: Literal["elementwise", "block"] = "elementwise"
    """Whether observations that fail together (the parts of a complex reading) share one weight."""
    passes: int = Field(default=3, ge=1, le=50)
    """Passes of reweighted least squares, where the sampler solves for the residual."""

    ode_steps: int = Field(default=5, ge=1, le=200)
    """Euler steps to a guess of the unknown, of `daps` and `huber_cg`."""
    langevin_steps: int = Field(default=40, ge=1, le=5000)
    """Langevin steps per level, of `daps`."""
    langevin_step: float = lane_field(0.5, gt=0, le=1)
    """Their length, as a share of what the largest curvature allows."""
    regularization: float = lane_field(0.25, gt=0, le=1e6)
    """Weight of the prior, of `reddiff`."""
    learning_rate: float = lane_field(0.1, gt=0, le=100)
    """Adam's step size, of `reddiff`."""

    outliers: Outliers = "gross"
    """What outliers are: draws from a wide range, values that data do take, or shifts."""
    outlier_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of a data set's observations that are outliers. Part of the problem: not to be searched."""
    outlier_size: float = Field(default=5.0, gt=0)
    """Of `gross`, half the width in ranges of the data; of `shift`, in standard deviations of the noise."""

    compare_plain: bool = False
    """Solve every problem with the squared loss as well, on the same noise: gives `gain` and `price_clean`."""
    influence: bool = False
    """Solve every problem twice more with one observation moved far and farther: gives `influence_slope`."""

    def warnings(self) -> list[str]:
        """Settings that are allowed but cannot do what they seem to ask."""
        found = []
        if self.sigma_min >= self.sigma_max:
            found.append("sigma_min is not below sigma_max: noise does not fall on the way")
        if self.outliers == "shift" and self.outlier_size < 10 and self.outlier_share > 0:
            found.append(
                f"outliers shifted by {self.outlier_size:g} noise deviations can hardly be told from noise"
            )
        return found

    def unread(self) -> dict[str, str]:
        """Fields whose value changes nothing as the others stand."""
        found: dict[str, str] = {}
        sampler = f"the sampler is {self.sampler}"
        if self.kind == "squared":
            found |= dict.fromkeys(
                ("threshold", "scale", "weights"), "the loss is squared, whose weights are 1"
            )
            found["passes"] = "weights that are 1 settle in one pass"
        if self.sampler not in GUIDED:
            found["guidance"] = sampler
        if self.sampler not in ("dps_annealed", "pigdm", "tmpd"):
            found["solver"] = sampler
        if self.sampler not in SOLVES:
            found["passes"] = f"{sampler}, which takes weights once"
        if self.sampler != "daps":
            found |= dict.fromkeys(("langevin_steps", "langevin_step"), sampler)
        if self.sampler not in ("daps", "huber_cg"):
            found["ode_steps"] = sampler
        if self.sampler != "reddiff":
            found |= dict.fromkeys(("regularization", "learning_rate"), sampler)
        if self.outliers == "in_range":
            found["outlier_size"] = "in-range outliers are as large as data are"
        return found
