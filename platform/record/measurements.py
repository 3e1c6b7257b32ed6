"""What trials report and what they use, as a record keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """What was reported at a step: training metrics (``progress``) or scores (``evaluated``).

    Attributes:
        steps: the last step of the stage.
        metrics: name to one value per seed.
        episodes: per seed, values of every episode by name; empty for training metrics.
        wall_s: elapsed time of the updates; 0 for scores.
    """

    kind: str
    stage: str
    step: int
    steps: int
    seeds: tuple[int, ...]
    metrics: Mapping[str, Sequence[float]]
    episodes: Sequence[Mapping[str, Sequence[float]]]
    episodes_spent: int
    cpu_s: float
    time: float
    wall_s: float = 0.0


@dataclass(frozen=True)
class StageUse:
    """A shared stage output a trial computed or took from the store.

    Attributes:
        cpu_s: process time spent on it, 0 where reused.
        saved_cpu_s: process time not spent on it, 0 where computed.
    """

    stage: str
    key: str
    seed: int
    reused: bool
    cpu_s: float = 0.0
    saved_cpu_s: float = 0.0
    wall_s: float = 0.0
    bytes: int = 0
