"""An offline dataset as learners see it: flat, memory-mapped, with what is needed to evaluate a policy on it.

Legend: S states (transitions + one final state per episode), N transitions, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..config import FrozenConfig


class EvaluationSpec(FrozenConfig):
    """How to build the environment a policy trained on a dataset is scored in."""

    library: Literal["gymnasium", "ogbench"]
    """Which library constructs it; `ogbench` ids are single-task dataset names."""
    id: str
    """Environment id (gymnasium) or single-task dataset name (ogbench)."""
    kwargs: Mapping[str, Any] = {}
    """Constructor arguments."""
    observation_keys: tuple[str, ...] = ()
    """Order in which entries of a dict observation are concatenated; empty for array observations."""
    action_low: tuple[float, ...]
    """Bounds of the environment's action box; learners act in [-1, 1]."""
    action_high: tuple[float, ...]
    max_episode_steps: int
    """Environment steps after which an episode is cut."""
    global_rng: bool = False
    """Whether the environment draws from NumPy's global generator, so that it must be seeded too."""


class Finding(FrozenConfig):
    """Something a sanity check noticed about a dataset."""

    level: Literal["note", "warning"]
    text: str


class DatasetInfo(FrozenConfig):
    """What is known of a dataset without reading its arrays."""

    name: str
    """Minari id, with `#taskN` appended when a single task was relabelled from it."""
    fingerprint: str
    """Digest of the flat arrays and everything that shaped them."""
    episodes: int
    transitions: int
    observation_dim: int
    action_dim: int
    entries: tuple[tuple[str, ...], ...] = ((),)
    """Arrays of an observation that were laid side by side, each by its path in a dict; the empty path is the array."""
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    reward_min: float
    reward_max: float
    terminal_share: float
    """Share of transitions with mask 0 (no bootstrap)."""
    ref_min_score: float | None = None
    ref_max_score: float | None = None
    evaluation: EvaluationSpec | None = None
    """The environment policies are scored in."""
    unscored: str | None = None
    """Where there is none, why."""
    defined_in: str | None = None
    """Where the dataset says that its environment is defined. A text for messages: it is never imported."""
    findings: tuple[Finding, ...] = ()

    @property
    def has_reference_scores(self) -> bool:
        """Whether returns have a scale: both reference scores, the least below the most."""
        low, high = self.ref_min_score, self.ref_max_score
        return low is not None and high is not None and low < high


@dataclass(frozen=True)
class FlatDataset:
    """Memory-mapped columns. The next state of transition i is ``states[rows[i] + 1]``; it is not stored twice.

    Attributes:
        states: [S, O] float32, raw (not normalised) observations.
        rows: [N] int64, the state row of each transition.
        actions: [N, A] float32 in [-(1 - 1e-5), 1 - 1e-5], mapped affinely from the action box.
        rewards: [N] float32.
        masks: [N] float32, 0 where the value must not be bootstrapped.
        boundaries: [N] bool, True on the last transition of an episode.
    """

    info: DatasetInfo
    states: np.ndarray
    rows: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    masks: np.ndarray
    boundaries: np.ndarray

    @property
    def name(self) -> str:
        """Minari id, with the task where one was relabelled."""
        return self.info.name

    @property
    def fingerprint(self) -> str:
        """Digest of the content."""
        return self.info.fingerprint

    def describe(self) -> Mapping[str, Any]:
        """The dataset's info as plain JSON, for plans and records."""
        return self.info.model_dump(mode="json")

    @cached_property
    def episode_of(self) -> np.ndarray:
        """[N] int64, the episode each transition belongs to."""
        return np.concatenate([[0], np.cumsum(self.boundaries[:-1])]).astype(np.int64)

    def split(self, validation_share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Transition indices for training and validation, divided by whole episodes.

        Args:
            validation_share: share of episodes held out, at least one episode when above 0.
            seed: decides which episodes.
        """
        episodes = int(self.episode_of[-1]) + 1
        if validation_share <= 0 or episodes < 2:
            return np.arange(len(self.rows)), np.empty(0, np.int64)
        held_out = np.random.default_rng(seed).permutation(episodes)[
            : max(1, round(validation_share * episodes))
        ]
        chosen = np.isin(self.episode_of, held_out)
        return np.flatnonzero(~chosen), np.flatnonzero(chosen)
