"""Episodes of P policies in constrained environments, in lockstep, and what they score.

As in :mod:`.rollout`, everything random about an episode follows from (seed of its lane, number): a result depends
neither on how many episodes run beside it nor on what ran before.

Legend: P lanes, B = BLOCK episodes per lane, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..base import Score
from ..errors import Diverged
from .build import EpisodeSeeds
from .constrained import Constrained, ConstrainedEnvironment
from .policy import Policy
from .rollout import BLOCK, noise_generator

METRICS = {
    "return": "sum of the rewards of an evaluation episode",
    "cost": "sum of the costs of an evaluation episode",
    "discounted_cost": "discounted sum of the costs of an evaluation episode",
    "violation_rate": "share of evaluation episodes whose cost is above the limit",
    "episode_length": "environment steps of an evaluation episode",
}


@dataclass
class ConstrainedEpisode:
    """One episode while it runs and after. The lists are filled only when it is recorded."""

    lane: int
    number: int
    total_reward: float = 0.0
    cost: float = 0.0
    discounted_cost: float = 0.0
    length: int = 0
    first_observation: np.ndarray = field(default_factory=lambda: np.empty(0))
    actions: list[np.ndarray] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    last_observation: np.ndarray = field(default_factory=lambda: np.empty(0))

    def violates(self, definition: Constrained, limit: float) -> bool:
        """Whether its cost is above the limit."""
        return (self.discounted_cost if definition.discounted else self.cost) > limit


def play(
    policy: Policy,
    definition: Constrained,
    seeds: Sequence[int],
    episodes: int,
    *,
    cost_discount: Sequence[float],
    device: str = "cpu",
    step: int = 0,
    lanes: Sequence[int] | None = None,
    record: bool = False,
) -> list[ConstrainedEpisode]:
    """Play that many episodes of every lane.

    Args:
        policy: P policies acting together.
        definition: the environment; it gets environments of its own, whatever else runs.
        seeds: one per lane.
        episodes: how many, per lane.
        cost_discount: of the discounted cost, one per lane.
        device: where the policy computes.
        step: updates the policy has had, named when its actions are not finite.
        lanes: whose episodes; all by default.
        record: keep actions, rewards and costs of every step.

    Raises:
        Diverged: the policy gave an action that is not finite.
        EnvironmentFailed: an environment raised, or answered with what is not a number.
    """
    played = []
    chosen = range(len(seeds)) if lanes is None else lanes
    for first in range(0, episodes, BLOCK):
        wave = [
            ConstrainedEpisode(lane, number)
            for number in range(first, min(first + BLOCK, episodes))
            for lane in chosen
        ]
        generators = [noise_generator(seed, first // BLOCK, device) for seed in seeds]
        _play_wave(_acting(policy, generators, device, step), definition, seeds, wave, cost_discount, record)
        played += wave
    return played


def _acting(
    policy: Policy, generators: Sequence[torch.Generator], device: str, step: int
) -> Callable[[np.ndarray], np.ndarray]:
    def act(observations: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            actions = policy.act(torch.tensor(observations, device=device), generators).cpu().numpy()
        if not np.isfinite(actions).all():
            raise Diverged("an action of the evaluated policy", step)
        return actions

    return act


def _play_wave(
    act: Callable[[np.ndarray], np.ndarray],
    definition: Constrained,
    seeds: Sequence[int],
    wave: Sequence[ConstrainedEpisode],
    cost_discount: Sequence[float],
    record: bool,
) -> None:
    environments = _pooled(definition, len(wave))
    observations = np.zeros((len(seeds), BLOCK, environments[0].observation_dim), np.float32)
    for environment, episode in zip(environments, wave, strict=True):
        seed = EpisodeSeeds.of(seeds[episode.lane], episode.number).environment
        episode.first_observation = environment.reset(seed)
        observations[episode.lane, episode.number % BLOCK] = episode.first_observation
    running = list(zip(environments, wave, strict=True))
    while running:
        actions, still = act(observations), []
        for environment, episode in running:
            row = (episode.lane, episode.number % BLOCK)
            step = environment.step(actions[row])
            observations[row] = step.observation
            episode.total_reward += step.reward
            episode.cost += step.cost
            episode.discounted_cost += cost_discount[episode.lane] ** episode.length * step.cost
            episode.length += 1
            if record:
                episode.actions.append(actions[row])
                episode.costs.append(step.cost)
                episode.rewards.append(step.reward)
                episode.last_observation = step.observation
            if not (step.terminated or step.truncated):
                still.append((environment, episode))
        running = still


_pool: dict[str, list[ConstrainedEnvironment]] = {}


def _pooled(definition: Constrained, count: int) -> Sequence[ConstrainedEnvironment]:
    """``count`` environments of this process, kept for the next evaluation; only one kind is kept."""
    for other in [known for known in _pool if known != definition.fingerprint]:
        for environment in _pool.pop(other):
            environment.close()
    pool = _pool.setdefault(definition.fingerprint, [])
    while len(pool) < count:
        pool.append(ConstrainedEnvironment(definition))
    return pool[:count]


def score(played: Sequence[ConstrainedEpisode], definition: Constrained, limit: float) -> Score:
    """What one lane's episodes amount to."""
    per_episode = {
        "return": [episode.total_reward for episode in played],
        "cost": [episode.cost for episode in played],
        "discounted_cost": [episode.discounted_cost for episode in played],
        "length": [float(episode.length) for episode in played],
    }
    means = {name: float(np.mean(values)) for name, values in per_episode.items()}
    metrics = {
        "return": means["return"],
        "cost": means["cost"],
        "discounted_cost": means["discounted_cost"],
        "violation_rate": float(np.mean([episode.violates(definition, limit) for episode in played])),
        "episode_length": means["length"],
    }
    return Score(metrics=metrics, episodes=per_episode)
