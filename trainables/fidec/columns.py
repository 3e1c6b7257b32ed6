"""The pools on the device, batches gathered from them, and what is known of all states together.

Legend: P lanes, B batch, N transitions, S states, M base actions per state, K scores, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..base import Snapshot
from ..data.columns import gather
from .fisher import Fisher

TRACE_ROWS = 65_536  # states whose traces are summed at once


def mean_trace(pools: Mapping[str, torch.Tensor], rows: torch.Tensor) -> float:
    """Mean tr F over the states that transitions start from.

    Args:
        pools: tensors [S, ...] of one lane.
        rows: [N] their state rows.
    """
    total = 0.0
    for part in rows.split(TRACE_ROWS):
        chosen = {name: value.index_select(0, part) for name, value in pools.items()}
        fisher = Fisher(chosen.get("scores"), chosen.get("matrix"))
        total += fisher.trace(chosen["base_actions"][:, 0]).sum(dtype=torch.float64).item()
    return total / len(rows)


def dataset_trace(stored: Snapshot, rows: torch.Tensor) -> float:
    """The mean trace that pools were stored with; computed where they are of a version that did not store it."""
    found = stored.meta.get("fisher_trace")
    return (
        mean_trace(stored.tensors, rows.to(stored.tensors["base_actions"].device)) if found is None else found
    )


def fisher_of_rows(snapshots: Sequence[Snapshot], rows: torch.Tensor, device: str | torch.device) -> Fisher:
    """Fisher matrices of a few state rows [B], the same rows in the pools of every lane; of [P, B] states."""

    def part(name: str) -> torch.Tensor:
        return torch.stack([snapshot.tensors[name][rows] for snapshot in snapshots]).to(device)

    names = snapshots[0].tensors
    if "matrix" in names:
        return Fisher(matrix=part("matrix"))
    if "scores" not in names:
        return Fisher()
    local = snapshots[0].meta["pools"]["fisher_scope"] == "local"
    return Fisher(scores=part("scores")[:, :, :1] if local else part("scores"))


class Pools:
    """Base actions and Fisher geometry of every state, read from the pools stage's outputs.

    Lanes that refine the same flow share one copy.

    Args:
        snapshots: [P] outputs of the pools stage; tensors [S, ...].
        device: where to keep them.
    """

    def __init__(self, snapshots: Sequence[Snapshot], device: str | torch.device):
        unique: dict[int, Snapshot] = {}
        for snapshot in snapshots:
            unique.setdefault(snapshot.tensors["base_actions"].data_ptr(), snapshot)
        places = list(unique)
        self._tables = [
            {name: value.to(device) for name, value in snapshot.tensors.items()}
            for snapshot in unique.values()
        ]
        self._table_of = [places.index(s.tensors["base_actions"].data_ptr()) for s in snapshots]
        self._local = snapshots[0].meta["pools"]["fisher_scope"] == "local"
        self.base_actions_per_state = snapshots[0].tensors["base_actions"].shape[1]

    def base_actions(self, rows: torch.Tensor, choice: torch.Tensor) -> torch.Tensor:
        """Unclipped base action number ``choice`` [P, B] of state rows [P, B]; [P, B, A]."""
        return self._gather("base_actions", rows * self.base_actions_per_state + choice, flat=True)

    def fisher(self, rows: torch.Tensor, choice: torch.Tensor) -> Fisher:
        """The Fisher matrices of state rows [P, B]; ``choice`` picks the sample of the rank-one form."""
        names = self._tables[0]
        if "matrix" in names:
            return Fisher(matrix=self._gather("matrix", rows))
        if "scores" not in names:
            return Fisher()
        if self._local:
            # By the table's own width: pools of an earlier version keep more scores than base actions.
            index = rows * names["scores"].shape[1] + choice
            return Fisher(scores=self._gather("scores", index, flat=True).unsqueeze(-2))
        return Fisher(scores=self._gather("scores", rows))

    def _gather(self, name: str, index: torch.Tensor, flat: bool = False) -> torch.Tensor:
        tables = [table[name].flatten(0, 1) if flat else table[name] for table in self._tables]
        if len(tables) == 1:
            return gather(tables[0], index)
        return torch.stack([gather(tables[self._table_of[lane]], row) for lane, row in enumerate(index)])
