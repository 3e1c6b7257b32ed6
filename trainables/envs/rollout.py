"""Episodes of P policies in lockstep, with results that do not depend on how many environments run at once.

Every episode has a number, and everything random about it follows from (seed of its lane, number):

- the environment's seeds come from ``SeedSequence(seed, spawn_key=(0, number))``;
- the policy's noise comes in blocks of ``BLOCK`` consecutive episodes. A block is always asked for in the shape
  [P, BLOCK, O], with one generator per lane seeded from ``SeedSequence(seed, spawn_key=(1, block))``, and
  episode ``number`` always sits at position ``number % BLOCK``. Rows that have ended, or whose turn comes in a
  later wave, are computed and ignored, so each episode meets the same noise in any schedule.

This holds for policies whose draws depend on the shape of the observations only, not on their values.

Legend: P lanes, B = BLOCK episodes per lane, O observation size, A action size, T environment steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..data.dataset import EvaluationSpec
from ..errors import Diverged
from . import mazes
from .build import EpisodeEnvironment, EpisodeSeeds, pooled
from .policy import Policy

BLOCK = 32
_POLICY = 1  # first word of the spawn key; environments use 0


class _NotFinite(Exception):
    pass


def noise_generator(seed: int, block: int, device: str = "cpu") -> torch.Generator:
    """The policy's random stream in one block of episodes of a lane with this seed."""
    words = np.random.SeedSequence(seed, spawn_key=(_POLICY, block)).generate_state(1, np.uint64)
    return torch.Generator(device=device).manual_seed(int(words[0] >> np.uint64(1)))


@dataclass
class Episode:
    """One episode while it runs and after. The lists are filled only when it is recorded."""

    lane: int
    number: int
    total_reward: float = 0.0
    length: int = 0
    success: bool | None = None
    """Whether the task was solved at any step; None where the environment never says."""
    observations: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    goal: np.ndarray | None = None
    """Where the task is solved, in mazes."""

    def note(self, environment: EpisodeEnvironment, observation: np.ndarray) -> None:
        """Record where the episode stands."""
        self.observations.append(observation)
        if (place := mazes.position(environment.raw)) is not None:
            self.positions.append(place)


def run_episodes(
    policy: Policy,
    spec: EvaluationSpec,
    seeds: Sequence[int],
    wanted: Sequence[tuple[int, int]],
    *,
    at_once: int,
    device: str = "cpu",
    step: int = 0,
    record: bool = False,
) -> list[Episode]:
    """Play episodes, one batched policy call per environment step.

    Args:
        policy: P policies acting together.
        spec: the environment.
        seeds: one per lane.
        wanted: (lane, number) of every episode to play.
        at_once: most environments alive at a time.
        device: where the policy computes.
        step: gradient updates the policy has had, to be named if its actions are not finite.
        record: keep observations, actions and rewards of every step.

    Returns:
        The episodes, in the order of ``wanted``.

    Raises:
        Diverged: the policy gave an action that is not finite.
    """
    done: dict[tuple[int, int], Episode] = {}
    for block, members in _blocks(wanted):
        for start in range(0, len(members), at_once):
            wave = [Episode(lane, number) for lane, number in members[start : start + at_once]]
            generators = [noise_generator(seed, block, device) for seed in seeds]
            try:
                _play_wave(policy, spec, seeds, wave, generators, device, record)
            except _NotFinite:
                raise Diverged("an action of the evaluated policy", step) from None
            done.update({(episode.lane, episode.number): episode for episode in wave})
    return [done[key] for key in wanted]


def _blocks(wanted: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    for block in sorted({number // BLOCK for _, number in wanted}):
        yield block, [key for key in wanted if key[1] // BLOCK == block]


def _play_wave(
    policy: Policy,
    spec: EvaluationSpec,
    seeds: Sequence[int],
    wave: Sequence[Episode],
    generators: Sequence[torch.Generator],
    device: str,
    record: bool,
) -> None:
    environments = pooled(spec, len(wave))
    first = [
        environment.reset(EpisodeSeeds.of(seeds[episode.lane], episode.number))
        for environment, episode in zip(environments, wave, strict=True)
    ]
    observations = np.zeros((len(seeds), BLOCK, len(first[0])), np.float32)
    for episode, observation in zip(wave, first, strict=True):
        observations[episode.lane, episode.number % BLOCK] = observation
    if record:
        for environment, episode, observation in zip(environments, wave, first, strict=True):
            episode.note(environment, observation)
            episode.goal = mazes.goal(environment.raw)
    running = list(zip(environments, wave, strict=True))
    while running:
        actions = _act(policy, observations, generators, device)
        running = [pair for pair in running if not _step(*pair, actions, observations, record)]


def _act(
    policy: Policy, observations: np.ndarray, generators: Sequence[torch.Generator], device: str
) -> np.ndarray:
    with torch.no_grad():
        actions = policy.act(torch.tensor(observations, device=device), generators).cpu().numpy()
    if not np.isfinite(actions).all():
        raise _NotFinite
    return actions


def _step(
    environment: EpisodeEnvironment,
    episode: Episode,
    actions: np.ndarray,
    observations: np.ndarray,
    record: bool,
) -> bool:
    """Advance one episode and say whether it is over."""
    row = (episode.lane, episode.number % BLOCK)
    observation, reward, over, success = environment.step(actions[row])
    observations[row] = observation
    episode.total_reward += reward
    episode.length += 1
    if success is not None:
        episode.success = bool(episode.success) or success
    if record:
        episode.note(environment, observation)
        episode.actions.append(actions[row])
        episode.rewards.append(reward)
    return over
