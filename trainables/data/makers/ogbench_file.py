"""OGBench episodes as a Minari dataset: what every maker and the importer of OGBench data share.

Legend: E episodes, T steps of an episode, N steps, S = N + E states, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from ..ogbench_tasks import relabel, single_task_environment
from .recipe import Description, Episodes

SIMULATOR_STATE = ("qpos", "qvel", "button_states")


def episodes_from_rows(episodes: Sequence[Mapping[str, np.ndarray]]) -> Episodes:
    """Lay episodes end to end; rewards are zero until :func:`label_and_describe`.

    Args:
        episodes: each with ``observations`` [T + 1, O], ``actions`` [T, A] and simulator states [T + 1, ...].
    """
    lengths = np.array([len(episode["actions"]) for episode in episodes], np.int64)
    ends = np.zeros(lengths.sum(), np.bool_)
    ends[np.cumsum(lengths) - 1] = True

    def together(name: str) -> np.ndarray:
        return np.concatenate([episode[name] for episode in episodes])

    return Episodes(
        lengths=lengths,
        observations={"": together("observations")},
        actions=together("actions"),
        rewards=np.zeros(len(ends), np.float32),
        terminations=np.zeros(len(ends), np.bool_),  # episodes go on after success
        truncations=ends,
        infos={name: together(name) for name in SIMULATOR_STATE if name in episodes[0]},
    )


def label_and_describe(
    episodes: Episodes, original: str, algorithm: str, text: str, **facts: Any
) -> tuple[Episodes, Description]:
    """The same episodes with rewards of the default task and its mask among the infos, and their description.

    The reference scores only scale a return for display: the success rate is what OGBench reports.

    Args:
        original: the OGBench dataset whose tasks apply, ``cube-single-play-v0``.
        algorithm: what acted.
        text: what the behaviour was.
        facts: provenance.
    """
    environment = single_task_environment(original, None)
    rewards, masks = relabel(environment, original, episodes.infos)
    acted_in = np.ones(len(rewards), np.bool_)
    acted_in[np.cumsum(episodes.lengths + 1) - 1] = False
    labelled = replace(episodes, rewards=rewards[acted_in], infos={**episodes.infos, "mask": masks})
    description = Description(
        observation_space=_float32_box(environment.observation_space),
        action_space=_float32_box(environment.action_space),
        environment=None,
        evaluation=environment.spec,
        ref_min_score=-float(environment.spec.max_episode_steps),
        ref_max_score=0.0,
        requirements=[f"ogbench=={version('ogbench')}", f"mujoco=={version('mujoco')}"],
        text=text,
        algorithm=algorithm,
        facts={
            "family": "ogbench",
            "ogbench_dataset": original,
            "simulator_state": list(episodes.infos),
            **facts,
        },
    )
    environment.close()
    return labelled, description


def _float32_box(space: Any) -> Any:
    import gymnasium

    # OGBench files are float32 throughout, whatever the environment declares.
    return gymnasium.spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
