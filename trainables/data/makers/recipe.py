"""What a maker is given and what it gives: recipes, shards of episodes, and a description for the dataset.

Legend: E episodes, N steps, S = N + E states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import gymnasium


@dataclass(frozen=True)
class Recipe:
    """A dataset that can be made on this machine from installed packages alone.

    Attributes:
        name: what the user types.
        summary: one line for lists.
        maker: module of this package with ``make_shard`` and ``finish`` (see :class:`Maker`).
        family: how rewards, masks and the evaluation are read from it (see ``semantics``).
        options: what the maker is told; part of the dataset's provenance.
        default_steps: environment steps when none are asked for.
        shard_steps: environment steps made at a stretch; decides the random streams, so never the worker count.
        episode_steps: the length of every episode where it is fixed, else None.
        steps_per_cpu_s: measured speed of one core, for estimates only.
        bytes_per_step: measured size of the hdf5 file, for estimates only.
        version: raised whenever the same seed would give other data.
    """

    name: str
    summary: str
    maker: str
    family: str
    options: Mapping[str, Any]
    default_steps: int
    shard_steps: int
    steps_per_cpu_s: float
    bytes_per_step: float
    episode_steps: int | None = None
    version: int = 1


@dataclass(frozen=True)
class Episodes:
    """Episodes end to end.

    Attributes:
        lengths: [E] int64, steps of each episode; each has one state more.
        observations: [S, ...] by entry of the dict observation, or under ``""`` where the observation is an array.
        actions: [N, A].
        rewards: [N] float32.
        terminations: [N] bool.
        truncations: [N] bool.
        infos: [S, ...] by name.
    """

    lengths: np.ndarray
    observations: Mapping[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray
    infos: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What a Minari dataset says about itself besides its episodes.

    Attributes:
        ref_min_score: return of a random policy under the evaluation environment.
        ref_max_score: return of the best policy under it.
        text: what the behaviour was.
        facts: entries for the ``flowsweep`` part of the metadata.
    """

    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    environment: Any
    evaluation: Any
    ref_min_score: float
    ref_max_score: float
    requirements: list[str]
    text: str
    algorithm: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class Maker(Protocol):
    """A module that can play one kind of environment. It is imported in worker processes only."""

    def make_shard(self, options: Mapping[str, Any], steps: int, seeds: np.random.SeedSequence) -> Episodes:
        """Play ``steps`` environment steps, every random choice drawn from ``seeds``."""
        ...

    def finish(self, options: Mapping[str, Any], episodes: Episodes) -> tuple[Episodes, Description]:
        """All shards as one, labelled where labels need the whole, and what the dataset says about itself."""
        ...
