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
    """Lay episodes end to end; rewards are zero until :func:`label_default_task`.

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


def label_default_task(episodes: Episodes, original: str) -> Episodes:
    """The same episodes with rewards of the dataset's default task, and its mask among the infos.

    Args:
        original: the OGBench dataset whose tasks apply, ``cube-single-play-v0``.
    """
    environment = single_task_environment(original, None)
    rewards, masks = relabel(environment, original, episodes.infos)
    environment.close()
    ends_of_states = np.cumsum(episodes.lengths + 1) - 1
    acted_in = np.ones(len(rewards), np.bool_)
    acted_in[ends_of_states] = False
    return replace(episodes, rewards=rewards[acted_in], infos={**episodes.infos, "mask": masks})


def describe_ogbench(
    original: str, simulator_state: Sequence[str], algorithm: str, text: str, **facts: Any
) -> Description:
    """What a Minari dataset of OGBench episodes says about itself.

    The reference scores only scale a return for display: the success rate is what OGBench reports.
    """
    import gymnasium

    environment = single_task_environment(original, None)
    shape, action_space, spec = (
        environment.observation_space.shape,
        environment.action_space,
        environment.spec,
    )
    environment.close()
    return Description(
        observation_space=gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32),
        action_space=gymnasium.spaces.Box(
            action_space.low.astype(np.float32), action_space.high.astype(np.float32), dtype=np.float32
        ),
        environment=None,
        evaluation=spec,
        ref_min_score=-float(spec.max_episode_steps),
        ref_max_score=0.0,
        requirements=[f"ogbench=={version('ogbench')}", f"mujoco=={version('mujoco')}"],
        text=text,
        algorithm=algorithm,
        facts={
            "family": "ogbench",
            "ogbench_dataset": original,
            "simulator_state": list(simulator_state),
            **facts,
        },
    )
