"""A dataset's columns on the device, batches gathered from them, and the scale observations are read on.

Legend: P lanes, B batch, N transitions, S states, O observation size, A action size.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from .dataset import FlatDataset


def on_device(array: np.ndarray, device: str | torch.device) -> torch.Tensor:
    """The array as a tensor; on CPU the same memory, mapped file or not. It must never be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)


def gather(column: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows of a column [N, ...] for indices [P, B]; [P, B, ...]."""
    return column.index_select(0, index.flatten()).view(*index.shape, *column.shape[1:])


def observation_scale(source: FlatDataset, normalize: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [O] over all states; a constant entry keeps its scale."""
    if not normalize:
        return np.zeros(source.states.shape[1], np.float32), np.ones(source.states.shape[1], np.float32)
    std = source.states.std(0, dtype=np.float64)
    mean = source.states.mean(0, dtype=np.float64)
    return mean.astype(np.float32), np.where(std < 1e-6, 1.0, std).astype(np.float32)


@dataclass(frozen=True)
class ObservationScale:
    """How the networks of P lanes read observations.

    Attributes:
        mean, std: [P, 1, O].
    """

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def of(cls, source: FlatDataset, normalize: bool, lanes: int, device: str | torch.device) -> Self:
        """The dataset's scale for every lane, or none (mean 0, deviation 1)."""
        mean, std = (torch.tensor(part, device=device) for part in observation_scale(source, normalize))
        return cls(mean.expand(lanes, 1, -1), std.expand(lanes, 1, -1))

    @property
    def observation_dim(self) -> int:
        """Observation size O."""
        return self.mean.shape[-1]

    def normalized(self, observations: torch.Tensor) -> torch.Tensor:
        """Raw observations [P, B, O] on the scale the networks read, on the networks' device."""
        return (observations.to(self.mean.device) - self.mean) / self.std

    def tensors(self, lane: int) -> dict[str, torch.Tensor]:
        """One lane's scale as named tensors, [O] each."""
        return {
            "observation.mean": self.mean[lane, 0].clone(),
            "observation.std": self.std[lane, 0].clone(),
        }


@dataclass(frozen=True)
class Transitions:
    """A batch.

    Attributes:
        states, next_states: [P, B, O] normalised.
        actions: [P, B, A] of the data.
        rewards, masks: [P, B]; the mask is 0 where the value must not be bootstrapped.
    """

    states: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    masks: torch.Tensor
    next_states: torch.Tensor


class Columns:
    """A dataset's columns, put on the device once and shared by all lanes."""

    def __init__(self, dataset: FlatDataset, device: str | torch.device):
        self.states = on_device(dataset.states, device)
        self.rows = on_device(dataset.rows, device)
        self.actions = on_device(dataset.actions, device)
        self.rewards = on_device(dataset.rewards, device)
        self.masks = on_device(dataset.masks, device)

    def __len__(self) -> int:
        return self.rows.shape[0]

    def transitions(self, index: torch.Tensor, scale: ObservationScale) -> Transitions:
        """The transitions of indices [P, B]."""
        rows = gather(self.rows, index)
        return Transitions(
            states=scale.normalized(gather(self.states, rows)),
            actions=gather(self.actions, index),
            rewards=gather(self.rewards, index),
            masks=gather(self.masks, index),
            next_states=scale.normalized(gather(self.states, rows + 1)),
        )

    def next_actions(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the data did next.

        Returns:
            Actions [P, B, A] of the transitions that follow, and [P, B] 1 where one follows in the same episode, else 0.
        """
        following = (index + 1).clamp_max(len(self) - 1)
        # An episode keeps one more state than it has transitions, so rows are consecutive only within it.
        follows = gather(self.rows, following) == gather(self.rows, index) + 1
        return gather(self.actions, following), follows.float()
