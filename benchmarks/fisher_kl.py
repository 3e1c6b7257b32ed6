"""What displacing the actions of a density costs in true KL and gains in value, against the best there is.

Legend: C parts of a density, W x N nodes along the wide and the narrow direction of a part, H x H cells.

Two computations of the KL of the displaced from the undisplaced density:

- One displacement for all actions: E[log p(a) - log p(a + delta)], a quadrature.
- A displacement of its own for every action: many actions may land on one place, so the moved density is made
  explicitly. Mass is carried over from a fine lattice, in coordinates in which the density is standard normal (which
  leaves the KL as it is), and spread by a Gaussian of ``BLUR`` standard deviations. What is rearranged below that
  resolution counts as unmoved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from fisher_densities import REACH, Density, rotation
from scipy import optimize

BLUR = 0.05
CELL = 0.025
FIELD_REACH = 7.5  # standard deviations that moved mass may reach


@dataclass(frozen=True)
class Grid:
    """Nodes of the standard normal coordinates z of a part, with the weights of N(0, I)."""

    wide: int = 61
    narrow: int = 121

    @cached_property
    def z(self) -> torch.Tensor:
        """[W, N, 2]."""
        axes = [torch.linspace(-REACH, REACH, n, dtype=torch.float64) for n in (self.wide, self.narrow)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)

    @cached_property
    def weights(self) -> torch.Tensor:
        """[W, N], summing to one."""
        weights = (-0.5 * self.z.square().sum(-1)).exp()
        return weights / weights.sum()

    def actions(self, density: Density) -> torch.Tensor:
        """The actions at the nodes of every part, [C, W, N, 2]."""
        return torch.stack([part.points(self.z) for part in density.parts])


def shift_kl(density: Density, delta: torch.Tensor, grid: Grid) -> float:
    """KL of the density moved by ``delta`` [2] from where it was, nats."""
    actions = grid.actions(density)
    change = density.log_density(actions) - density.log_density(actions + delta)
    return (grid.weights * change).sum().item() / len(density.parts)


def shift_gain(density: Density, direction: torch.Tensor, kl: float, grid: Grid) -> float:
    """Gain in value when the whole density moves along ``direction`` [2] as far as ``kl`` nats allow."""
    length = _reaching(lambda step: shift_kl(density, step * direction, grid), kl)
    return length * (direction @ density.gradient).item()


class Move:
    """A displacement of its own for every action, and what it costs and gains as it is lengthened.

    Args:
        density: what is displaced.
        delta: [C, W, N, 2] displacements at the nodes of ``grid``, interpolated between them.
        grid: the nodes.
    """

    def __init__(self, density: Density, delta: torch.Tensor, grid: Grid):
        self.density, self.lattice = density, Grid(*(2 * round(REACH / CELL) + 1,) * 2)
        self.base = self.lattice.actions(density)
        size = (self.lattice.wide, self.lattice.narrow)
        fine = torch.nn.functional.interpolate(
            delta.movedim(-1, 1), size, mode="bilinear", align_corners=True
        )
        self.delta = fine.movedim(1, -1).to(torch.float64)
        weights = self.lattice.weights / len(density.parts)
        self.slope = (weights.unsqueeze(-1) * self.delta * density.gradient).sum().item()
        """Gain in value per unit of step."""

    def kl(self, step: float) -> float:
        """KL of the moved from the unmoved density, nats."""
        moved = self.base + step * self.delta
        nearest = torch.stack([part.log_density(moved) for part in self.density.parts]).argmax(0)
        total = 0.0
        for index, part in enumerate(self.density.parts):
            here = nearest == index
            weights = self.lattice.weights.expand(here.shape)[here] / len(self.density.parts)
            total += _kl_from_normal(part.coordinates(moved[here]), weights, 1 / len(self.density.parts))
        return total

    def gain(self, kl: float) -> float:
        """Gain in value when the move is lengthened as far as ``kl`` nats allow."""
        return self.slope * _reaching(self.kl, kl)


def _kl_from_normal(z: torch.Tensor, weights: torch.Tensor, mass: float) -> float:
    """Sum of m log(m / r) over cells, m the blurred mass of points [n, 2] and r that of ``mass`` times N(0, I)."""
    count = 2 * round(FIELD_REACH / CELL)
    frequency = torch.fft.rfftfreq(count, dtype=torch.float64), torch.fft.fftfreq(count, dtype=torch.float64)
    spread = 2 * (math.pi * BLUR / CELL) ** 2
    blur = (-spread * frequency[1] ** 2).exp().unsqueeze(1) * (-spread * frequency[0] ** 2).exp()
    moved = torch.fft.irfft2(torch.fft.rfft2(_deposit(z, weights, count)) * blur, s=(count, count))
    centres = (torch.arange(count, dtype=torch.float64) - count // 2) * CELL
    variance = 1 + BLUR**2 + CELL**2 / 6  # the last term is what sharing mass between neighbouring cells adds
    log_one = -0.5 * centres**2 / variance - 0.5 * math.log(2 * math.pi * variance) + math.log(CELL)
    log_reference = log_one.unsqueeze(1) + log_one + math.log(mass)
    return (moved * (moved.clamp_min(1e-300).log() - log_reference))[moved > 1e-14].sum().item()


def _deposit(z: torch.Tensor, weights: torch.Tensor, count: int) -> torch.Tensor:
    """Mass per cell [H, H]; every point is shared between the four cells whose centres surround it."""
    place = (z / CELL + count // 2).clamp(0, count - 1.001)
    corner = place.floor()
    upper = place - corner
    row, column = corner.long().unbind(-1)
    cells = torch.zeros(count * count, dtype=torch.float64)
    for down in (0, 1):
        for right in (0, 1):
            share = (upper[:, 0] if down else 1 - upper[:, 0]) * (upper[:, 1] if right else 1 - upper[:, 1])
            cells.index_add_(0, (row + down) * count + column + right, weights * share)
    return cells.view(count, count)


def best_gain(density: Density, kl: float, grid: Grid) -> float:
    """The largest gain of any policy within ``kl`` nats: that of the density tilted by exp(value / temperature)."""
    values = grid.actions(density) @ density.gradient
    log_base = (grid.weights / len(density.parts)).log().expand_as(values)

    def tilted(inverse_temperature: float) -> tuple[float, float]:
        log_tilted = log_base + inverse_temperature * values
        log_tilted = log_tilted - log_tilted.flatten().logsumexp(0)
        mass = log_tilted.exp()
        return (mass * (log_tilted - log_base)).sum().item(), ((mass - log_base.exp()) * values).sum().item()

    return tilted(_reaching(lambda inverse: tilted(inverse)[0], kl))[1]


def best_shift(density: Density, kl: float, grid: Grid) -> tuple[float, torch.Tensor]:
    """The largest gain of one displacement for all actions, by search over its angle; and its direction [2]."""

    def direction(angle: float) -> torch.Tensor:
        return rotation(angle) @ density.gradient

    def gain(angle: float) -> float:
        return shift_gain(density, direction(angle), kl, grid)

    width = math.radians(5)
    coarse = max((width * index for index in range(-17, 18)), key=gain)
    found: Any = optimize.minimize_scalar(
        lambda angle: -gain(angle), bounds=(coarse - width, coarse + width), method="bounded"
    )
    return -float(found.fun), direction(float(found.x))


def _reaching(rising: Callable[[float], float], level: float) -> float:
    """Where a function that grows about quadratically from zero reaches ``level``, to 1e-4 of the level."""
    value = 1.0
    for _ in range(100):
        found = rising(value)
        if abs(found / level - 1) < 1e-4:
            return value
        value *= math.sqrt(level / max(found, 1e-12))
    raise RuntimeError(
        f"no step found that costs {level:g} nats; the last one tried, {value:g}, costs {found:g}"
    )
