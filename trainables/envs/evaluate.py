"""Scoring policies in the environment their dataset came from.

Legend: P lanes, E episodes per lane.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base import Score
from ..data.dataset import EvaluationSpec
from .policy import Policy
from .rollout import Episode, run_episodes

HEAVY_AT_ONCE = 8
"""OGBench manipulation scenes take 110 to 180 MB each, so only so many are alive in a process."""
LIGHT_AT_ONCE = 64
"""A maze takes about 12 MB."""
_HEAVY = ("cube-", "scene-", "puzzle-", "visual-")

METRICS = {
    "success_rate": "share of episodes in which the task was solved at any step",
    "return": "sum of the rewards of an episode",
    "normalized_score": "return on the dataset's scale: 0 its reference minimum, 100 its maximum",
    "episode_length": "environment steps of an episode",
}
"""What :func:`evaluate` reports and what it means; success and score only where they are defined."""


def evaluate(
    policy: Policy,
    spec: EvaluationSpec,
    seeds: Sequence[int],
    episodes: int,
    *,
    device: str = "cpu",
    ref_min_score: float | None = None,
    ref_max_score: float | None = None,
    max_environments: int | None = None,
    step: int = 0,
) -> list[Score]:
    """Play E episodes with each of P policies.

    The result is a function of (policy, spec, seeds): it depends neither on ``max_environments`` nor on what
    was evaluated before, and the first n of E episodes are those of an evaluation of n. Neither torch's nor
    NumPy's global generator is disturbed. See :mod:`.rollout` for how.

    Args:
        policy: P policies acting together.
        spec: the environment.
        seeds: one per lane, not negative. Lanes with equal seeds meet the same episodes.
        episodes: how many, per lane.
        device: where the policy computes.
        ref_min_score: return that counts as 0 on the normalised scale.
        ref_max_score: return that counts as 100.
        max_environments: most environments alive at a time, all lanes together; by default few where they
            take much memory.
        step: gradient updates the policy has had, named in the error when it diverges.

    Returns:
        One score per lane. ``Score.episodes`` holds ``success`` (where defined), ``return`` and ``length``.

    Raises:
        Diverged: a policy gave an action that is not finite.
        UserError: the environment cannot be built.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, not {episodes}")
    wanted = [(lane, number) for number in range(episodes) for lane in range(len(seeds))]
    played = run_episodes(
        policy,
        spec,
        seeds,
        wanted,
        at_once=max_environments or environments_at_once(spec),
        device=device,
        step=step,
    )
    return [
        _score([episode for episode in played if episode.lane == lane], ref_min_score, ref_max_score)
        for lane in range(len(seeds))
    ]


def environments_at_once(spec: EvaluationSpec) -> int:
    """How many environments of this kind a process keeps alive unless told otherwise."""
    heavy = spec.library == "ogbench" and spec.id.startswith(_HEAVY)
    return HEAVY_AT_ONCE if heavy else LIGHT_AT_ONCE


def normalized_score(total_reward: float, ref_min_score: float, ref_max_score: float) -> float:
    """The return on the scale of the dataset's reference scores (D4RL, Fu et al. 2020, section 5)."""
    return 100.0 * (total_reward - ref_min_score) / (ref_max_score - ref_min_score)


def _score(played: Sequence[Episode], ref_min_score: float | None, ref_max_score: float | None) -> Score:
    per_episode = {
        "return": [episode.total_reward for episode in played],
        "length": [float(episode.length) for episode in played],
    }
    metrics = {
        "return": float(np.mean(per_episode["return"])),
        "episode_length": float(np.mean(per_episode["length"])),
    }
    if any(episode.success is not None for episode in played):
        per_episode["success"] = [float(bool(episode.success)) for episode in played]
        metrics["success_rate"] = float(np.mean(per_episode["success"]))
    if ref_min_score is not None and ref_max_score is not None and ref_min_score < ref_max_score:
        metrics["normalized_score"] = normalized_score(metrics["return"], ref_min_score, ref_max_score)
    return Score(metrics=metrics, episodes=per_episode)
