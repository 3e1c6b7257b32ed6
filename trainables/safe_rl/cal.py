"""CAL: conservative augmented Lagrangian (Wu, Tang, Lin, Yu, Mei, Feng and Xing, 2024, arXiv 2401.14758).

SAC-Lagrangian with an ensemble's upper bound in place of one cost critic, and a multiplier that the violation of the
batch itself raises: max(0, lambda + c mean g). ALGD takes the same at every action instead of in the mean.

Legend: P lanes, B batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..base import Snapshot
from .config import CalConfig
from .sac_lagrangian import SacLagrangianLearner
from .sac_lagrangian import stored_policies as gaussian_policies


class CalLearner(SacLagrangianLearner):
    """P lanes of CAL."""

    config: CalConfig
    scalars_of = ("convexity",)

    def effective_multiplier(self, violation: torch.Tensor) -> torch.Tensor:
        """max(0, lambda + c mean g), [P], of g [P, B]."""
        return (self.dual.multiplier + self.scalars["convexity"] * violation.mean(-1)).clamp_min(0)


def stored_policies(outputs: Sequence[Snapshot], limit: torch.Tensor, device: str):
    """What stored outputs stand for: their networks and their policies."""
    return gaussian_policies(outputs, limit, device, CalConfig)
