"""Linear inverse scattering in the plane: the Born approximation of the Helmholtz equation.

Legend: W incoming plane waves, R receivers, D pixels.

The square [-1, 1]^2 holds the contrast q. A plane wave u0(x) = exp(i k d.x) comes in from direction d; to first order
in q the scattered field at a receiver r is

    u(r) = k^2 sum_x G(r, x) u0(x) q(x) dx^2,   G(r, x) = (i/4) H0(k |r - x|)

with Hankel's function of the first kind. Real and imaginary part are two observations that stand side by side.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import hankel1

WAVES, RECEIVERS, RADIUS, WAVELENGTHS_PER_SIDE = 6, 12, 1.6, 2


def born_matrix(side: int) -> torch.Tensor:
    """[2 W R, side^2], scaled so that rows have mean squared length one."""
    wavenumber = 2 * np.pi * WAVELENGTHS_PER_SIDE / 2
    centres = (np.arange(side) + 0.5) / side * 2 - 1
    pixels = np.stack(np.meshgrid(centres, centres, indexing="ij"), -1).reshape(-1, 2)
    incoming = np.exp(1j * wavenumber * _circle(WAVES) @ pixels.T)
    distance = np.linalg.norm(RADIUS * _circle(RECEIVERS)[:, None] - pixels[None], axis=-1)
    green = 0.25j * hankel1(0, wavenumber * distance)
    field = (incoming[:, None] * green[None]).reshape(-1, len(pixels))
    rows = np.stack([field.real, field.imag], 1).reshape(-1, len(pixels))
    return torch.from_numpy(rows / np.sqrt((rows**2).sum(1).mean()))


def _circle(points: int) -> np.ndarray:
    angles = 2 * np.pi * np.arange(points) / points
    return np.stack([np.cos(angles), np.sin(angles)], 1)
