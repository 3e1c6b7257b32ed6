"""Showing what a policy does: traces of episodes, videos, stills, and ways through mazes.

Legend: P lanes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data.dataset import EvaluationSpec
from .build import pooled
from .mazes import layout, plot_trajectories
from .policy import Policy
from .render import Media, render_trace
from .rollout import Episode, run_episodes
from .trace import Trace

__all__ = ["Media", "Trace", "plot_trajectories", "record_episode", "render_trace", "trace_episodes"]


def trace_episodes(
    policy: Policy,
    spec: EvaluationSpec,
    seeds: Sequence[int],
    numbers: Sequence[int],
    *,
    lane: int = 0,
    device: str = "cpu",
) -> list[Trace]:
    """Play chosen episodes of one lane and keep every environment step.

    They are the very episodes :func:`.evaluate.evaluate` plays with the same policy and seeds.

    Args:
        policy: P policies acting together.
        spec: the environment.
        seeds: one per lane.
        numbers: which episodes, counted from 0.
        lane: whose episodes.
        device: where the policy computes.
    """
    wanted = [(lane, number) for number in numbers]
    played = run_episodes(policy, spec, seeds, wanted, at_once=len(wanted), device=device, record=True)
    return [_trace(spec, seeds[lane], episode) for episode in played]


def record_episode(
    policy: Policy,
    spec: EvaluationSpec,
    seeds: Sequence[int],
    folder: Path,
    *,
    lane: int = 0,
    name: str = "episode",
    ways: int = 8,
    device: str = "cpu",
) -> Media:
    """Play the first episode of an evaluation and show it: its trace, a short video and a strip of stills.

    In mazes a figure of the ways taken in the first episodes is added; it needs no renderer. What the machine
    cannot render is left out, with the reason in ``Media.missing`` and as a logged warning.

    Args:
        policy: P policies acting together.
        spec: the environment.
        seeds: one per lane.
        folder: where ``<name>.safetensors``, ``.mp4``, ``.png`` and ``-ways.png`` go.
        lane: whose episodes.
        name: of the files; also the title of the figure.
        ways: how many episodes the figure of a maze shows.
        device: where the policy computes.
    """
    in_maze = layout(pooled(spec, 1)[0].raw) is not None
    traces = trace_episodes(policy, spec, seeds, range(ways if in_maze else 1), lane=lane, device=device)
    stored = traces[0].save(folder / f"{name}.safetensors")
    rendered = render_trace(stored, folder)
    if rendered.missing:
        logging.getLogger(__name__).warning("no video or stills of %s: %s", name, rendered.missing)
    figure = plot_trajectories(spec, {name: traces}, folder / f"{name}-ways.png") if in_maze else None
    return Media((stored, *rendered.paths, *([figure] if figure else [])), rendered.missing)


def _trace(spec: EvaluationSpec, seed: int, episode: Episode) -> Trace:
    return Trace(
        spec=spec,
        seed=seed,
        number=episode.number,
        success=episode.success,
        observations=np.stack(episode.observations),
        actions=np.stack(episode.actions),
        rewards=np.array(episode.rewards),
        positions=np.stack(episode.positions) if episode.positions else np.empty((0, 2)),
        goal=episode.goal,
    )
