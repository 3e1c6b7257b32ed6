"""Problems on the handwritten digits that ship with scikit-learn, under a learned prior.

Legend: D pixels (64, 8 by 8), M observations. Pixels lie in [-1, 1].
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from ...streams import derived_seed
from ..operators import MatrixOperator
from .mixture import gaussian_blur
from .problem import Problem, Truths
from .scattering import born_matrix

SIDE, NOISE = 8, 0.05
TRAIN, TUNE = 1500, 147  # of 1,797; the last 150 are to test on
SEEN, PROJECTIONS, BLUR_WIDTH = 38, 40, 0.8
TITLES = {
    "inpaint": f"{SEEN} of {SIDE * SIDE} pixels",
    "blur": f"a blur of {BLUR_WIDTH} pixels",
    "sr": "means of 2 by 2 pixels",
    "cs": f"{PROJECTIONS} random projections",
    "scatter": "scattered waves in the Born approximation",
}


@cache
def images() -> torch.Tensor:
    """[1797, 64] float32, in an order drawn once."""
    pixels, _ = _shuffled()
    return pixels


@cache
def labels() -> torch.Tensor:
    """[1797] the digit of every image, in the same order."""
    _, digits = _shuffled()
    return digits


def _shuffled() -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.datasets import load_digits  # slow to import

    pixels, digits = (np.asarray(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(
        len(pixels), generator=torch.Generator().manual_seed(derived_seed(0, "rdps", "digits"))
    )
    scaled = torch.from_numpy(pixels.astype(np.float32)) / 8 - 1
    return scaled[order], torch.from_numpy(digits)[order]


def build(name: str, task: str) -> Problem:
    """A digits problem."""
    pixels = images()
    block = 2 if task == "scatter" else 1
    return Problem(
        name,
        f"handwritten digits: {TITLES[task]}",
        MatrixOperator(_matrix(task).float(), block),
        NOISE,
        (SIDE, SIDE),
        value_range=2.0,
        truths=Truths(pools={"tune": pixels[TRAIN : TRAIN + TUNE], "test": pixels[TRAIN + TUNE :]}),
        prior_name="digits",
        examples=pixels[:TRAIN],
        bounds=(-1.0, 1.0),
    )


def _matrix(task: str) -> torch.Tensor:
    pixels = SIDE * SIDE
    generator = torch.Generator().manual_seed(derived_seed(0, "rdps", task))
    if task == "inpaint":
        return torch.eye(pixels, dtype=torch.float64)[
            torch.randperm(pixels, generator=generator)[:SEEN].sort().values
        ]
    if task == "blur":
        line = gaussian_blur(SIDE, BLUR_WIDTH)
        return torch.kron(line, line)
    if task == "sr":
        pair = torch.eye(SIDE // 2, dtype=torch.float64).repeat_interleave(2, 1) / 2
        return torch.kron(pair, pair)
    if task == "cs":
        return torch.randn(PROJECTIONS, pixels, generator=generator, dtype=torch.float64) / pixels**0.5
    return born_matrix(SIDE)
