"""How several workers compute one stage together: who does what, and how gradients become those of the whole batch.

Legend: P lanes, B batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed

from .errors import UserError


def part_of(count: int, rank: int, world: int) -> range:
    """The part of ``range(count)`` that worker ``rank`` of ``world`` does: consecutive, as even as possible."""
    return range(count * rank // world, count * (rank + 1) // world)


class BatchShare:
    """One worker's part of every batch. Every worker draws the whole batch and computes on its own rows.

    Args:
        size: rows B of the whole batch.
        rank, world: which worker this is, of how many.

    Raises:
        UserError: there are fewer rows than workers.
    """

    def __init__(self, size: int, rank: int, world: int):
        if size < world:
            raise UserError(
                f"cannot be divided among {world} workers",
                key="batch_size",
                value=size,
                fix="Take a larger batch, or fewer workers (`resources.workers`).",
            )
        part = part_of(size, rank, world)
        self.rows, self.weight = slice(part.start, part.stop), len(part) / size

    def mine(self, values: torch.Tensor) -> torch.Tensor:
        """This worker's rows of [P, B, ...]."""
        return values[:, self.rows]

    def averaged(self, *groups: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """Means over the whole batch from this worker's means over its rows; equal to the last bit on every worker.

        Args:
            groups: float32 tensors by name (gradients, metrics); all workers pass equal names and shapes.
        """
        parts = [value.detach() for group in groups for value in group.values()]
        flat = torch.cat([part.reshape(-1) for part in parts]).mul_(self.weight)
        torch.distributed.all_reduce(flat)
        means = iter(flat.split([part.numel() for part in parts]))
        return [{name: next(means).view_as(value) for name, value in group.items()} for group in groups]
