"""What one trial is asked to do: complete, plain, and the same for a worker, a cluster node or a rerun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from .config import FrozenConfig


class TrialRequest(FrozenConfig):
    """Everything a trial needs, so that equal requests do equal work anywhere."""

    trial: str
    """Name of the trial within its sweep."""
    system: str
    """Registered system."""
    dataset: str
    """What the system learns from."""
    configs: Mapping[str, Mapping[str, Any]]
    """Full configuration of every stage."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """One lane per seed."""
    through: str
    """The last stage of the walk."""
    episodes: int
    """Episodes per seed at each evaluation."""
    evaluate_every_steps: int | None = None
    """Steps of the last stage between evaluations; always evaluated at its end."""
    threads: int = 1
    """Torch threads."""
    device: str = "cpu"
    """Torch device."""
    illustrate: bool = False
    """Whether to picture the result at the end."""
