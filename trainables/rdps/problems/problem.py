"""What a problem is to its samplers and to its judges.

Legend: N data sets, D unknowns, M observations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...errors import UserError
from ...source_ref import Split
from ...streams import derived_seed
from ..contamination import Contamination
from ..operators import MatrixOperator, Operator, check_adjoint, check_derivative
from ..priors import GaussianMixture


@dataclass(frozen=True)
class Cases:
    """Truths and their data, as many as were asked for.

    Attributes:
        truth: [N, D].
        clean: [N, M] data with ordinary noise.
        soiled: [N, M] the same data with outliers.
        outliers: [N, M] which entries of ``soiled`` are outliers; for judges alone, no sampler is given it.
    """

    truth: torch.Tensor
    clean: torch.Tensor
    soiled: torch.Tensor
    outliers: torch.Tensor


class Truths:
    """Where truths come from: a prior that can be drawn from, or pools of examples.

    Args:
        mixture: draws afresh for every problem of a list.
        pools: [N, D] by split, disjoint; a seed sets their order.
        length: how many problems a list of a mixture has.
    """

    def __init__(
        self,
        mixture: GaussianMixture | None = None,
        pools: Mapping[str, torch.Tensor] | None = None,
        length: int = 1000,
    ):
        self.mixture, self.pools, self.length = mixture, pools, length

    def count(self, split: Split) -> int:
        """How many problems the list of a split has."""
        return len(self.pools[split]) if self.pools else self.length

    def take(self, split: Split, seed: int, indices: Sequence[int]) -> torch.Tensor:
        """[N, D] the truths at these places of the list that a seed makes; a longer list begins with a shorter."""
        if self.pools:
            order = torch.randperm(self.count(split), generator=_generator(seed, split, "order"))
            return self.pools[split][order[list(indices)]]
        assert self.mixture is not None
        drawn = [self.mixture.sample(1, _generator(seed, split, "truth", index)) for index in indices]
        return torch.cat(drawn)


class Problem:
    """An inverse problem y = F(x) + noise.

    Attributes:
        name, title: as registered.
        operator: F, on CPU.
        noise: standard deviation of ordinary noise.
        shape: of an unknown, to draw it.
        value_range: of an unknown's entries, by which PSNR and SSIM are measured.
        amplitude: largest absolute value of data free of noise.
        mixture: the prior, where it is known in closed form.
        examples: [N, D] to learn the prior from, where it is not.
        bounds: of an entry, where it has any: samples are clipped to them before they are judged, as images are.
        prior_name: names the prior; problems of one name share what is learnt.
    """

    def __init__(
        self,
        name: str,
        title: str,
        operator: Operator,
        noise: float,
        shape: tuple[int, ...],
        value_range: float,
        truths: Truths,
        prior_name: str,
        examples: torch.Tensor | None = None,
        bounds: tuple[float, float] | None = None,
        version: int = 1,
    ):
        self.name, self.title, self.operator, self.noise = name, title, operator, noise
        self.shape, self.value_range, self.truths = shape, value_range, truths
        self.mixture, self.examples, self.prior_name = truths.mixture, examples, prior_name
        self.bounds, self.version = bounds, version
        known = examples if examples is not None else self._drawn(1000)
        self.amplitude = float(operator.A(known).abs().max())

    def _drawn(self, count: int) -> torch.Tensor:
        assert self.mixture is not None
        return self.mixture.sample(count, _generator(0, self.prior_name, "amplitude"))

    @property
    def fingerprint(self) -> str:
        """Digest of prior and problem, with a colon between: what is learnt of a prior serves all its problems."""
        examples = b"" if self.examples is None else self.examples.numpy().tobytes()
        return f"{_digest(self.prior_name, self.version, examples)}:{_digest(self.name, self.version)}"

    @property
    def dtype(self) -> torch.dtype:
        """What the unknowns are in."""
        return torch.float64 if self.mixture else torch.float32

    @property
    def has_exact_posterior(self) -> bool:
        """Whether the posterior given untouched observations is known in closed form."""
        return self.mixture is not None and self.operator.linear

    def count(self, split: Split) -> int:
        """How many problems the list of a split has."""
        return self.truths.count(split)

    def cases(self, split: Split, seed: int, indices: Sequence[int], contamination: Contamination) -> Cases:
        """Truths with clean and with contaminated data, the same for a place whatever else is asked for."""
        truth = self.truths.take(split, seed, indices)
        image = self.operator.A(truth)
        streams = [_generator(seed, split, "noise", index) for index in indices]
        size = self.operator.observations
        draws = torch.stack([torch.randn(size, generator=g, dtype=image.dtype) for g in streams])
        clean = image + self.noise * draws
        spoilers = [_generator(seed, split, "outliers", index) for index in indices]
        soiled, outliers = contamination.apply(clean, self.amplitude, self.noise, spoilers)
        return Cases(truth, clean, soiled, outliers)

    def posterior(self, data: torch.Tensor, outliers: torch.Tensor | None = None) -> GaussianMixture:
        """The exact posterior given data [M], its outliers left out."""
        assert self.mixture is not None
        variance = torch.full_like(data, self.noise**2)
        if outliers is not None:
            variance = variance.masked_fill(outliers, float("inf"))
        return self.mixture.posterior(self.operator.jacobian(data), data, variance)

    def check(self) -> None:
        """Hold the operator to its adjoint, or to its derivative.

        Raises:
            UserError: it is not.
        """
        size, operator = (self.operator.unknowns,), self.operator
        if isinstance(operator, MatrixOperator):
            data = (operator.observations,)
            check_adjoint(operator.A, operator.A_adjoint, size, data, operator.matrix.dtype, self.name)
        else:
            start = torch.linspace(-0.5, 0.5, operator.unknowns, dtype=torch.float64)
            check_derivative(operator, start, self.name)

    def require(self, problems: int, split: Split) -> None:
        """Refuse to go further than the list reaches.

        Raises:
            UserError: the list of this split is shorter.
        """
        if problems > self.count(split):
            raise UserError(
                f"asks for {problems} problems, and `{self.name}` has {self.count(split)} to {split} on",
                key="posterior.steps",
                value=problems,
                fix=f"Ask for at most {self.count(split)} steps.",
            )

    def draw(self, path: Path, *, seed: int, share: float) -> Path:
        """Picture three truths with their data, clean and with that share of gross outliers.

        Raises:
            UserError: the share is none.
        """
        from ..pictures import drawn_problem  # loads matplotlib

        if not 0 <= share < 1:
            raise UserError("must be at least 0 and below 1", key="--share", value=share, fix="Try 0.1.")
        return drawn_problem(self, self.cases("tune", seed, range(3), Contamination(share)), path)

    def describe(self) -> Mapping[str, Any]:
        """Sizes and what is known, as plain JSON."""
        return {
            "title": self.title,
            "unknowns": self.operator.unknowns,
            "observations": self.operator.observations,
            "linear": self.operator.linear,
            "noise": self.noise,
            "data_amplitude": self.amplitude,
            "prior": self.prior_name,
            "prior_known": self.mixture is not None,
            "exact_posterior": self.has_exact_posterior,
            "tune_problems": self.count("tune"),
            "test_problems": self.count("test"),
            "findings": [],
        }


def _generator(seed: int, *purpose: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(seed, "rdps", *purpose))


def _digest(*parts: str | int | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else f"{part}/".encode())
    return digest.hexdigest()[:32]
