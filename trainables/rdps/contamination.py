"""Outliers in data: how many, how large, and the mask that metrics may read and samplers may not.

Legend: N data sets, M observations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .config import Outliers


@dataclass(frozen=True)
class Contamination:
    """A share of the observations replaced or shifted.

    Attributes:
        share: of the observations, in [0, 1); at least one where it is above zero.
        kind: ``gross`` replaces by a uniform draw from +-size times the range of the data; ``in_range`` by the largest
            value data take, of either sign, so that no single value looks wrong; ``shift`` adds size times the
            standard deviation of the noise, of either sign.
        size: how large, where the kind reads it.
    """

    share: float = 0.1
    kind: Outliers = "gross"
    size: float = 5.0

    def count(self, observations: int) -> int:
        """How many of that many observations are outliers."""
        return max(1, round(self.share * observations)) if self.share > 0 else 0

    def apply(
        self,
        data: torch.Tensor,
        amplitude: float,
        noise: float,
        generators: Sequence[torch.Generator],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Data with outliers, and which entries they are.

        Args:
            data: [N, M] with ordinary noise.
            amplitude: largest absolute value of data free of noise; their range is twice this.
            noise: standard deviation of the ordinary noise.
            generators: [N].
        """
        soiled, mask = data.clone(), torch.zeros(data.shape, dtype=torch.bool)
        for row, generator in enumerate(generators):
            chosen = torch.randperm(data.shape[1], generator=generator)[: self.count(data.shape[1])]
            draw = 2 * torch.rand(len(chosen), generator=generator, dtype=data.dtype) - 1
            sign = torch.where(draw < 0, -1.0, 1.0).to(data.dtype)
            if self.kind == "gross":
                soiled[row, chosen] = draw * self.size * 2 * amplitude
            elif self.kind == "in_range":
                soiled[row, chosen] = sign * amplitude
            else:
                soiled[row, chosen] += sign * self.size * noise
            mask[row, chosen] = True
        return soiled, mask
