"""Behaviour densities over two action entries whose densities, samples and noised scores have closed forms.

Legend: N points, M Gaussians in a row.

A density is an equal mixture of parts. A part is a Gaussian, possibly bent: x = A z + b with z ~ N(0, I), then
x_1 += bend * x_0^2. The scores of noised samples are exact, those of bent parts up to one quadrature along x_0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

WIDE, NARROW = 0.5, 0.05
BEND = 0.5
MODES_APART = 3.0
REACH = 4.5  # standard deviations that are covered
STRING_STEPS = 0.8  # nodes along a bent part lie this many noise widths apart

LOG_NORMAL = -math.log(2 * math.pi)


def rotation(angle: float) -> torch.Tensor:
    """The rotation by ``angle`` radians, [2, 2]."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)


@dataclass(frozen=True)
class Part:
    """x = A z + b, then x_1 += bend x_0^2; a bent part has a diagonal A.

    Attributes:
        factor: A [2, 2]; its first column is the wide direction.
        shift: b [2].
        bend: curvature.
    """

    factor: torch.Tensor
    shift: torch.Tensor
    bend: float = 0.0

    def points(self, z: torch.Tensor) -> torch.Tensor:
        """Actions of standard normal coordinates [..., 2]."""
        straight = z @ self.factor.T + self.shift
        return torch.stack([straight[..., 0], straight[..., 1] + self.bend * straight[..., 0] ** 2], -1)

    def coordinates(self, x: torch.Tensor) -> torch.Tensor:
        """The z of actions [..., 2]."""
        straight = torch.stack([x[..., 0], x[..., 1] - self.bend * x[..., 0] ** 2], -1)
        return (straight - self.shift) @ torch.linalg.inv(self.factor).T

    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        """Of points [..., 2]; bending does not change volumes."""
        return (
            LOG_NORMAL
            - 0.5 * self.coordinates(x).square().sum(-1)
            - torch.linalg.det(self.factor).abs().log()
        )

    def string(self, spacing: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Weights [M], means [M, 2] and one covariance [2, 2] of a mixture of Gaussians that equals the part once
        noise wider than ``spacing`` is added; one Gaussian where the part is straight."""
        if self.bend == 0:
            return torch.ones(1, dtype=torch.float64), self.shift.unsqueeze(0), self.factor @ self.factor.T
        wide = self.factor[0, 0].item()
        nodes = torch.linspace(-REACH, REACH, 1 + math.ceil(2 * REACH * wide / spacing), dtype=torch.float64)
        means = self.points(torch.stack([nodes, torch.zeros_like(nodes)], -1))
        across = torch.diag(torch.tensor([0.0, self.factor[1, 1].item() ** 2], dtype=torch.float64))
        return (-0.5 * nodes**2).softmax(0), means, across


@dataclass(frozen=True)
class Density:
    """An equal mixture of parts, with a linear value over it.

    Attributes:
        name: for people.
        parts: the mixture.
        gradient: [2] unit direction in which the value rises, one per unit length.
    """

    name: str
    parts: tuple[Part, ...]
    gradient: torch.Tensor

    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        """Of points [..., 2]."""
        each = torch.stack([part.log_density(x) for part in self.parts])
        return each.logsumexp(0) - math.log(len(self.parts))

    def sample(self, count: int, seed: int) -> torch.Tensor:
        """Samples [count, 2] in random order."""
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        chosen = torch.randint(len(self.parts), (count, 1), generator=generator)
        return torch.stack([part.points(z) for part in self.parts]).gather(0, chosen.expand(1, -1, 2))[0]

    def noised_score(self, points: torch.Tensor, time: float) -> torch.Tensor:
        """Score of (1 - t) noise + t action at points [N, 2]."""
        strings = [part.string(STRING_STEPS * (1 - time) / time) for part in self.parts]
        logits, toward = [], []
        for weights, means, covariance in strings:
            noised = time**2 * covariance + (1 - time) ** 2 * torch.eye(2, dtype=torch.float64)
            precision, scale = torch.linalg.inv(noised).to(points), torch.linalg.det(noised).log().item()
            distance = points.unsqueeze(1) - time * means.to(points)
            pulled = distance @ precision
            logits.append(weights.log().to(points) - 0.5 * scale - 0.5 * (distance * pulled).sum(-1))
            toward.append(-pulled)
        share = torch.cat(logits, 1).softmax(1)
        return (share.unsqueeze(-1) * torch.cat(toward, 1)).sum(1)

    def velocity(self, states: torch.Tensor, points: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """The exact flow, [1, N, 2] for points [1, N, 2] that share one time; its states play no part."""
        time = times.flatten()[0].item()
        blocks = [self.noised_score(block, time) for block in points[0].split(20_000)]
        return ((points[0] + (1 - time) * torch.cat(blocks)) / time).unsqueeze(0)


def densities() -> dict[str, Density]:
    """An anisotropic Gaussian; two such modes whose wide axes stand at right angles; a curved ridge."""
    wide = torch.diag(torch.tensor([WIDE, NARROW], dtype=torch.float64))
    origin, up = (
        torch.zeros(2, dtype=torch.float64),
        torch.tensor([0.0, MODES_APART / 2], dtype=torch.float64),
    )
    along = torch.tensor([1.0, 0.0], dtype=torch.float64)
    diagonal = rotation(math.pi / 4) @ along
    modes = (Part(rotation(math.pi / 4) @ wide, up), Part(rotation(-math.pi / 4) @ wide, -up))
    return {
        "gaussian": Density("anisotropic Gaussian", (Part(wide, origin),), diagonal),
        "two_modes": Density("two modes", modes, along),
        "curved": Density("curved ridge", (Part(wide, origin, BEND),), diagonal),
    }
