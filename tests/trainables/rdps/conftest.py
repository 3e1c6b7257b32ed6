"""Small problems with known answers."""

from __future__ import annotations

import pytest
import torch
from flowsweep.trainables.rdps.operators import MatrixOperator
from flowsweep.trainables.rdps.priors import GaussianMixture
from flowsweep.trainables.rdps.problems.mixture import random_mixture

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def gaussian() -> tuple[GaussianMixture, MatrixOperator]:
    """A Gaussian prior of 8 unknowns and 12 observations of it."""
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(1, 8, 8, generator=generator, dtype=torch.float64) / 8**0.5
    covariance = root @ root.mT + 0.05 * torch.eye(8, dtype=torch.float64)
    mean = torch.randn(1, 8, generator=generator, dtype=torch.float64)
    matrix = torch.randn(12, 8, generator=generator, dtype=torch.float64) / 8**0.5
    return GaussianMixture(torch.ones(1, dtype=torch.float64), mean, covariance), MatrixOperator(matrix)


@pytest.fixture(scope="session")
def mixture() -> GaussianMixture:
    """Three components in six dimensions."""
    return random_mixture(6, 3, torch.Generator().manual_seed(5))
