"""Random numbers: one independent, resumable stream per lane, so that a lane draws what it would draw alone.

Legend: P lanes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, independent of every other purpose of the same ``seed``."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Streams:
    """P generators, one per lane.

    Args:
        seeds: [P] seeds of the lanes.
        purpose: names what is drawn; another purpose gives independent numbers.
        device: where the numbers are made; the numbers differ between kinds of device.
    """

    def __init__(self, seeds: Sequence[int], purpose: str, device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self.generators = [
            torch.Generator(self.device).manual_seed(derived_seed(seed, purpose)) for seed in seeds
        ]

    def normal(self, *size: int) -> torch.Tensor:
        """[P, *size] standard normal."""
        return self._stack(torch.randn(size, generator=g, device=self.device) for g in self.generators)

    def uniform(self, *size: int) -> torch.Tensor:
        """[P, *size] uniform on [0, 1)."""
        return self._stack(torch.rand(size, generator=g, device=self.device) for g in self.generators)

    def integers(self, high: int, *size: int) -> torch.Tensor:
        """[P, *size] int64, uniform on 0..high-1."""
        return self._stack(
            torch.randint(high, size, generator=g, device=self.device) for g in self.generators
        )

    def state(self) -> torch.Tensor:
        """[P, bytes] uint8, the position of every stream."""
        return torch.stack([g.get_state() for g in self.generators])

    def load_state(self, state: torch.Tensor) -> None:
        """Continue from :meth:`state`.

        Raises:
            ValueError: the state is of another kind of device, whose streams cannot be continued here.
        """
        if state.shape[1] != self.generators[0].get_state().numel():
            raise ValueError(f"random streams of another kind of device cannot continue on {self.device}")
        for generator, position in zip(self.generators, state, strict=True):
            # A copy: the generator keeps the storage it is given.
            generator.set_state(position.cpu().clone())

    @staticmethod
    def _stack(draws) -> torch.Tensor:
        first, *rest = draws
        return torch.stack([first, *rest]) if rest else first.unsqueeze(0)
