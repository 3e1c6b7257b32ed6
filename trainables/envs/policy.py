"""What an evaluation needs of a policy.

Legend: P lanes, B environments per lane, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch


class Policy(Protocol):
    """P policies acting together."""

    def act(self, observations: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Actions in [-1, 1] for raw observations.

        Args:
            observations: [P, B, O] float32.
            generators: one random stream per lane.

        Returns:
            [P, B, A] float32.
        """
        ...
