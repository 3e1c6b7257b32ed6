"""Hand-made Minari datasets in a home of the test's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer

Write = Callable[..., str]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, for tests that must not meet other tests' datasets."""
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


@pytest.fixture
def write(room: Path) -> Write:
    """Write episodes as a Minari dataset: ``write("toy-v0", [episode, ...])``, each a dict of arrays."""

    def write_dataset(
        minari_id: str,
        episodes: Sequence[dict[str, Any]],
        observation_space: gymnasium.Space | None = None,
        action_space: gymnasium.Space | None = None,
        **kwargs: Any,
    ) -> str:
        first = episodes[0]
        box = gymnasium.spaces.Box
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            minari.create_dataset_from_buffers(
                minari_id,
                [
                    EpisodeBuffer(
                        observations=episode["observations"],
                        actions=episode["actions"],
                        rewards=episode["rewards"],
                        terminations=episode["terminations"],
                        truncations=episode["truncations"],
                        infos=episode.get("infos"),
                    )
                    for episode in episodes
                ],
                observation_space=observation_space
                or box(-np.inf, np.inf, np.shape(first["observations"])[1:], np.float32),
                action_space=action_space or box(-1, 1, np.shape(first["actions"])[1:], np.float32),
                **kwargs,
            )
        return minari_id

    return write_dataset


def episode(steps: int, start: float = 0.0, terminated: bool = False, **changes: Any) -> dict[str, Any]:
    """An episode whose state k is (start + k, -(start + k)), and whose action and reward k are k / 100."""
    at = np.arange(steps + 1, dtype=np.float32) + np.float32(start)
    ends = np.arange(steps) == steps - 1
    return {
        "observations": np.stack([at, -at], axis=1),
        "actions": (np.arange(steps, dtype=np.float32) / 100)[:, None],
        "rewards": np.arange(steps, dtype=np.float32) / 100,
        "terminations": ends & terminated,
        "truncations": ends & (not terminated),
        **changes,
    }


@pytest.fixture(name="episode")
def episode_fixture() -> Callable[..., dict[str, Any]]:
    """:func:`episode`, for tests to make episodes with."""
    return episode
