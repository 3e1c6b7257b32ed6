"""A one-step task whose value lies in loose directions and is lost in tight ones: where a metric must pay.

Actions are a = R z with a fixed rotation R, so that no direction is an entry of the action. Two entries of z are
loose: the reward climbs with them. The others are tight: each must stay near a target that depends on the state, or
nothing is earned at all. Whoever moves all directions alike leaves the tight ones before the loose ones pay.

Legend: A action entries, O = 4 observation entries, N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, SupportsFloat

import gymnasium
import numpy as np

ENVIRONMENT_ID = "flowsweep/Tolerance-v0"
OBSERVATIONS = 4
LOOSE = 2
"""Number of directions that carry the reward."""
TARGET_SIZE = 0.1
REACH = 0.7
"""Displacement along the loose directions that earns everything; more would leave the box of actions."""
BEST_RETURN = 2.0


@dataclass(frozen=True)
class Tolerance:
    """The task in closed form.

    Attributes:
        actions: A, at least 3.
        loose_spread: standard deviation of the behaviour along each loose direction.
        tight_spread: the same along each tight direction.
        tolerance: how far a tight direction may be from its target.
    """

    actions: int = 6
    loose_spread: float = 0.4
    tight_spread: float = 0.02
    tolerance: float = 0.08

    def __post_init__(self):
        if self.actions <= LOOSE or min(self.loose_spread, self.tight_spread, self.tolerance) <= 0:
            raise ValueError(
                f"needs more than {LOOSE} actions, and spreads and a tolerance above zero: {self}"
            )

    @cached_property
    def rotation(self) -> np.ndarray:
        """R [A, A], the orthonormal cosine basis: columns are directions, spread evenly over the entries."""
        n = np.arange(self.actions)
        basis = np.cos(np.pi / self.actions * (n[:, None] + 0.5) * n[None, :])
        return basis / np.linalg.norm(basis, axis=0)

    @cached_property
    def _weights(self) -> np.ndarray:
        # Drawn once for all sizes, so that the tasks of a family differ in size alone.
        return np.random.default_rng(0).normal(size=(OBSERVATIONS, 64))[:, : self.actions]

    @property
    def reach(self) -> float:
        """Mean displacement along the loose directions at which the reward ends to climb."""
        return min(2 * self.loose_spread, REACH)

    def targets(self, states: np.ndarray) -> np.ndarray:
        """Return where behaviour is centred, in z; states [N, O], result [N, A]."""
        return TARGET_SIZE * np.tanh(states @ self._weights)

    def rewards(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return 1 + the clipped mean loose displacement over the reach, or 0 where a tight direction is left.

        Args:
            states: [N, O].
            actions: [N, A].

        Returns:
            [N] in [0, 2].
        """
        offsets = actions @ self.rotation - self.targets(states)
        within = (np.abs(offsets[:, LOOSE:]) <= self.tolerance).all(-1)
        climb = np.clip(offsets[:, :LOOSE].mean(-1) / self.reach, -1.0, 1.0)
        return within * (1.0 + climb)

    def behaviour(self, states: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return Gaussian actions around the targets, drawn again while outside the box; [N, A]."""
        spreads = np.full(self.actions, self.tight_spread)
        spreads[:LOOSE] = self.loose_spread
        centres = self.targets(states)
        actions = np.full(centres.shape, np.inf)
        while (outside := (np.abs(actions) > 1).any(-1)).any():
            z = centres[outside] + spreads * random.normal(size=(int(outside.sum()), self.actions))
            actions[outside] = z @ self.rotation.T
        return actions

    def best_actions(self, states: np.ndarray) -> np.ndarray:
        """Return actions that earn :data:`BEST_RETURN`, in the box; [N, A]."""
        z = self.targets(states)
        z[:, :LOOSE] += self.reach
        return z @ self.rotation.T


class ToleranceEnvironment(gymnasium.Env):
    """The task as an environment of one step; the keyword arguments are those of :class:`Tolerance`."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, **task: Any):
        self.task = Tolerance(**task)
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (OBSERVATIONS,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.task.actions,), np.float32)
        self._state = np.zeros(OBSERVATIONS, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Draw a state, uniform in the box."""
        super().reset(seed=seed)
        self._state = self.np_random.uniform(-1, 1, OBSERVATIONS).astype(np.float32)
        return self._state, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """Earn the reward of one action; the episode ends."""
        reward = float(self.task.rewards(self._state[None].astype(float), np.asarray(action, float)[None])[0])
        return self._state, reward, True, False, {}


def register() -> None:
    """Make the environment known to gymnasium in this process."""
    if ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(ENVIRONMENT_ID, entry_point=ToleranceEnvironment, max_episode_steps=1)
