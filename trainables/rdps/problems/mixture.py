"""Problems whose prior is a Gaussian mixture, so that the posterior is known in closed form.

Legend: D unknowns (16), K components (6), M observations.
"""

from __future__ import annotations

import torch

from ...streams import derived_seed
from ..operators import MatrixOperator
from ..priors import GaussianMixture
from .problem import Problem, Truths

UNKNOWNS, COMPONENTS, NOISE = 16, 6, 0.1
PROJECTIONS, SEEN, BLUR_WIDTH = 24, 12, 1.0
TITLES = {"cs": "random projections", "blur": "a blur", "inpaint": "a subset"}


def build(name: str, task: str, instance: int = 0) -> Problem:
    """A mixture problem; ``instance`` draws another mixture and another operator of the same kind."""
    generator = torch.Generator().manual_seed(derived_seed(instance, "rdps", "mixture"))
    mixture = random_mixture(UNKNOWNS, COMPONENTS, generator)
    operator = MatrixOperator(_matrix(task, generator))
    spread = mixture.variance**0.5
    return Problem(
        name,
        f"{TITLES[task]} of {UNKNOWNS} unknowns under a mixture of {COMPONENTS} Gaussians",
        operator,
        NOISE,
        (UNKNOWNS,),
        value_range=4 * spread,
        truths=Truths(mixture=mixture),
        prior_name=f"mixture-{instance}",
    )


def random_mixture(unknowns: int, components: int, generator: torch.Generator) -> GaussianMixture:
    """Means standard normal, covariances 0.15 B B' + 0.02 I with B of entries N(0, 1/D), weights uneven."""

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    means, roots = normal(components, unknowns), normal(components, unknowns, unknowns) / unknowns**0.5
    weights = torch.rand(components, generator=generator, dtype=torch.float64) + 0.25
    floor = 0.02 * torch.eye(unknowns, dtype=torch.float64)
    return GaussianMixture(weights / weights.sum(), means, 0.15 * roots @ roots.mT + floor)


def _matrix(task: str, generator: torch.Generator) -> torch.Tensor:
    if task == "cs":
        drawn = torch.randn(PROJECTIONS, UNKNOWNS, generator=generator, dtype=torch.float64)
        return drawn / UNKNOWNS**0.5
    if task == "blur":
        return gaussian_blur(UNKNOWNS, BLUR_WIDTH)
    kept = torch.randperm(UNKNOWNS, generator=generator)[:SEEN].sort().values
    return torch.eye(UNKNOWNS, dtype=torch.float64)[kept]


def gaussian_blur(size: int, width: float) -> torch.Tensor:
    """[size, size] rows of a Gaussian window of that standard deviation in cells, each of sum 1."""
    places = torch.arange(size, dtype=torch.float64)
    window = torch.exp(-(places - places.unsqueeze(1)).square() / (2 * width**2))
    return window / window.sum(1, keepdim=True)
