"""Matrix products that give every lane the bits it would get alone.

Legend: P lanes, B chains, I and O sizes.
"""

from __future__ import annotations

import torch


def apply(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """x matrix for x [..., I]; with a lane axis in front, lane by lane.

    A product over all lanes at once may cut its rows into other blocks than a lane alone, and round otherwise.

    Args:
        x: [..., I], three axes where there are lanes: [P, B, I].
        matrix: [I, O].
    """
    if x.dim() != 3:
        return x @ matrix
    return torch.bmm(x, matrix.expand(len(x), -1, -1))
