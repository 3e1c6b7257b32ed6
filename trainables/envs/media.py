"""Showing what a policy does: traces of episodes, videos, stills, and ways through mazes.

Legend: P lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data.dataset import EvaluationSpec
from .mazes import plot_trajectories
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
    number: int = 0,
    name: str = "episode",
    device: str = "cpu",
) -> Media:
    """Play one episode and show it: a trace, a short video and a strip of stills, in mazes also the way taken.

    What the machine cannot render is left out, with the reason in ``Media.missing``.
    """
    trace = trace_episodes(policy, spec, seeds, [number], lane=lane, device=device)[0]
    stored = trace.save(folder / f"{name}.safetensors")
    rendered = render_trace(stored, folder)
    way = plot_trajectories(spec, {name: [trace]}, folder / f"{name}-way.png")
    paths = (stored, *rendered.paths, *([way] if way else []))
    return Media(paths, rendered.missing)


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
