"""P environments in progress: transitions, episodes, and taking them up again where they stood.

A simulator's state cannot be stored in general. But episodes follow from their seeds and actions alone, and the replay
holds the actions: an episode that was under way is begun anew and its actions are taken again.

Legend: P lanes, O observation size, A action size, D columns of a row.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..envs.constrained import Constrained, ConstrainedEnvironment, Step

INITIAL_STATES = 16
"""Newest initial observations that are kept for asking critics what an episode will cost."""


@dataclass
class Training:
    """What one lane's training has been so far: the episode under way, the newest finished ones, and sums.

    Attributes:
        episode: number of the episode under way.
        steps: environment steps taken in it; ``reward``, ``cost``, ``discounted_cost`` are its sums.
        recent_costs: costs of the newest finished episodes, discounted where the limit is.
        total_cost, violations, episodes: of all training: costs summed, finished episodes above the limit, finished.
    """

    episode: int = 0
    steps: int = 0
    reward: float = 0.0
    cost: float = 0.0
    discounted_cost: float = 0.0
    recent_costs: list[float] = field(default_factory=list)
    recent_returns: list[float] = field(default_factory=list)
    total_cost: float = 0.0
    violations: int = 0
    episodes: int = 0


class Collector:
    """Steps P environments together and keeps their books.

    Args:
        definition: the environment.
        seeds: one per lane.
        purpose: tells its episodes apart from others of the same seed.
        limits: [P] largest cost per episode.
        cost_discounts: [P].
        window: newest finished episodes that are remembered.
    """

    def __init__(
        self,
        definition: Constrained,
        seeds: Sequence[int],
        purpose: int,
        limits: Sequence[float],
        cost_discounts: Sequence[float],
        window: int,
    ):
        self.definition, self.seeds, self.purpose = definition, list(seeds), purpose
        self.limits, self.cost_discounts, self.window = list(limits), list(cost_discounts), window
        self.environments = [ConstrainedEnvironment(definition) for _ in seeds]
        self.training = [Training() for _ in seeds]
        self.initial = [deque(maxlen=INITIAL_STATES) for _ in seeds]
        self.observations = np.stack([self._begin(lane) for lane in range(len(seeds))])

    @property
    def sizes(self) -> tuple[int, int]:
        """O and A."""
        return self.environments[0].observation_dim, self.environments[0].action_dim

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Act once in every environment; the transitions as rows [P, D].

        Where one fails, nothing is counted: the books stand as before.

        Args:
            actions: [P, A] in [-1, 1].

        Raises:
            EnvironmentFailed: an environment raised, or answered with what is not a number.
        """
        steps = [
            environment.step(action) for environment, action in zip(self.environments, actions, strict=True)
        ]
        rows = [
            np.concatenate([self.observations[lane], actions[lane], step.observation, _told(step)])
            for lane, step in enumerate(steps)
        ]
        begun = {
            lane: self._reset(lane, self.training[lane].episode + 1)
            for lane, step in enumerate(steps)
            if step.terminated or step.truncated
        }
        for lane, step in enumerate(steps):
            self._count(lane, step.reward, step.cost)
            self.observations[lane] = step.observation
            if lane in begun:
                self._finish(lane)
                self.observations[lane] = begun[lane]
                self.initial[lane].append(begun[lane])
        return np.stack(rows).astype(np.float32)

    def _count(self, lane: int, reward: float, cost: float) -> None:
        books = self.training[lane]
        books.reward += reward
        books.cost += cost
        books.discounted_cost += self.cost_discounts[lane] ** books.steps * cost
        books.total_cost += cost
        books.steps += 1

    def _finish(self, lane: int) -> None:
        books = self.training[lane]
        cost = books.discounted_cost if self.definition.discounted else books.cost
        books.recent_costs = [*books.recent_costs, cost][-self.window :]
        books.recent_returns = [*books.recent_returns, books.reward][-self.window :]
        books.violations += cost > self.limits[lane]
        books.episodes += 1
        books.episode += 1
        books.steps, books.reward, books.cost, books.discounted_cost = 0, 0.0, 0.0, 0.0

    def _begin(self, lane: int) -> np.ndarray:
        observation = self._reset(lane, self.training[lane].episode)
        self.initial[lane].append(observation)
        return observation

    def _reset(self, lane: int, episode: int) -> np.ndarray:
        words = np.random.SeedSequence(self.seeds[lane], spawn_key=(self.purpose, episode)).generate_state(1)
        return self.environments[lane].reset(int(words[0]))

    def state(self) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """Arrays by name and the books of every lane."""
        arrays = {f"initial.{lane}": np.stack(list(kept)) for lane, kept in enumerate(self.initial)}
        return {"observations": self.observations.copy(), **arrays}, [asdict(one) for one in self.training]

    def load_state(
        self,
        arrays: Mapping[str, np.ndarray],
        books: Sequence[Mapping[str, Any]],
        actions: Sequence[np.ndarray],
    ) -> None:
        """Continue from :meth:`state`.

        Args:
            arrays, books: what it returned.
            actions: [P] arrays [steps, A], those taken in the episode under way of every lane.
        """
        self.training = [Training(**one) for one in books]
        for lane, kept in enumerate(self.initial):
            kept.clear()
            kept.extend(arrays[f"initial.{lane}"])
            self.observations[lane] = self._retraced(lane, actions[lane], arrays["observations"][lane])

    def _retraced(self, lane: int, actions: np.ndarray, expected: np.ndarray) -> np.ndarray:
        observation = self._reset(lane, self.training[lane].episode)
        for action in actions:
            observation = self.environments[lane].step(action).observation
        if not np.array_equal(observation, expected):
            logging.getLogger(__name__).warning(
                "%s does not repeat an episode from its seed and actions: what follows is no longer bit-equal",
                self.definition.name,
            )
        return observation


def _told(step: Step) -> np.ndarray:
    """Reward, cost and mask: the mask is 0 where the task ended, and 1 where the episode was merely cut."""
    return np.array([step.reward, step.cost, 0.0 if step.terminated else 1.0])
