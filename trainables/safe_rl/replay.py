"""Transitions of P lanes: one row per environment step, appended and never changed.

Legend: P lanes, B batch, O observation size, A action size, D = 2 O + A + 3 columns: state, action, next state,
reward, cost, mask (0 where the task ended, 1 elsewhere, also where an episode was merely cut).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batch:
    """Transitions.

    Attributes:
        inputs: [P, B, O + A] states with actions, as critics read them.
        states, next_states: [P, B, O]; actions: [P, B, A].
        rewards, costs, masks: [P, B].
    """

    inputs: torch.Tensor
    states: torch.Tensor
    actions: torch.Tensor
    next_states: torch.Tensor
    rewards: torch.Tensor
    costs: torch.Tensor
    masks: torch.Tensor


def columns(observation_dim: int, action_dim: int) -> int:
    """D."""
    return 2 * observation_dim + action_dim + 3


class Replay:
    """Rows in one block of memory, the warm-up's first.

    Args:
        first: [rows, P, D] what to begin with.
        more: rows that will be appended at most.
        capacity: newest rows that are drawn from.
        sizes: O and A.
        device: where the rows lie.
    """

    def __init__(
        self, first: torch.Tensor, more: int, capacity: int, sizes: tuple[int, int], device: str = "cpu"
    ):
        self.begin, self.end, self.capacity, self.sizes = len(first), len(first), capacity, sizes
        self._rows = torch.empty(self.begin + more, *first.shape[1:], device=device)
        self._rows[: self.begin] = first
        self._lane = torch.arange(first.shape[1], device=device).unsqueeze(1)

    def __len__(self) -> int:
        """Rows there are to draw from."""
        return min(self.end, self.capacity)

    def append(self, rows: torch.Tensor) -> None:
        """One row [P, D] per lane."""
        self._rows[self.end] = rows
        self.end += 1

    def batch(self, index: torch.Tensor) -> Batch:
        """Rows by index [P, B], counted among those there are to draw from, oldest first."""
        lanes = self._rows.shape[1]
        place = (index + (self.end - len(self))) * lanes + self._lane
        rows = self._rows.view(-1, self._rows.shape[2]).index_select(0, place.flatten())
        return self._split(rows.view(*index.shape, -1))

    def actions(self, lane: int, newest: int) -> torch.Tensor:
        """[newest, A] actions of one lane's newest rows, oldest first."""
        observations, actions = self.sizes
        return self._rows[self.end - newest : self.end, lane, observations : observations + actions]

    def appended(self) -> torch.Tensor:
        """[rows, P, D] everything appended so far, without what it began with; it shares memory and never changes."""
        return self._rows[self.begin : self.end]

    def load(self, rows: torch.Tensor) -> None:
        """Continue from :meth:`appended`."""
        self.end = self.begin + len(rows)
        self._rows[self.begin : self.end] = rows

    def _split(self, rows: torch.Tensor) -> Batch:
        observations, actions = self.sizes
        inputs = observations + actions
        # Contiguous: products over a strided slice are rounded another way for one lane than for several.
        return Batch(
            inputs=rows[..., :inputs].contiguous(),
            states=rows[..., :observations].contiguous(),
            actions=rows[..., observations:inputs],
            next_states=rows[..., inputs : inputs + observations].contiguous(),
            rewards=rows[..., -3],
            costs=rows[..., -2],
            masks=rows[..., -1],
        )
