"""Environments with a cost beside the reward: what defines one, and one that is running.

Legend: O observation size, A action size, T longest episode in environment steps.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from ..errors import EnvironmentFailed, UserError

KEY = "environment"
COST = "cost"
"""The entry of ``info`` that holds a step's cost, where a step does not return it by itself."""


@dataclass(frozen=True)
class Constrained:
    """An environment with a cost and a limit on it, as it is found by name.

    Attributes:
        name: as a sweep names it.
        title: what happens in it, in a few words.
        make: builds it, given whether ``render()`` must give RGB frames. Its ``step`` returns gymnasium's five
            values with the cost in ``info["cost"]``, or six with the cost after the reward.
        episode_steps: T; longer episodes are cut, which ends no task.
        limit: the largest cost per episode that is allowed on average.
        discounted: whether the limit is one on the discounted sum, else on the plain sum.
        cost: what a step's cost is, in words.
        facts: everything that determines it besides the code of ``packages``.
        packages: distributions whose versions determine how it moves.
    """

    name: str
    title: str
    make: Callable[[bool], Any] = field(repr=False)
    episode_steps: int
    limit: float
    discounted: bool = False
    cost: str = "as the environment reports it"
    facts: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ("gymnasium",)

    @property
    def fingerprint(self) -> str:
        """Digest of what it does: equal where definition and simulator are equal."""
        content = {
            "name": self.name,
            "episode_steps": self.episode_steps,
            "facts": dict(self.facts),
            "packages": {package: version(package) for package in self.packages},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def critic_limit(self, limit: float, cost_discount: float) -> float:
        """The limit h on a discounted sum of costs that spends ``limit`` evenly over an episode.

        h = limit (1 - gamma^T) / ((1 - gamma) T); a limit on the discounted sum is h itself.
        """
        if self.discounted:
            return limit
        if cost_discount == 1:
            return limit
        steps = self.episode_steps
        return limit * (1 - cost_discount**steps) / ((1 - cost_discount) * steps)


class Step(NamedTuple):
    """What one environment step brought.

    Attributes:
        observation: [O] float32.
        terminated: the task ended here: nothing follows.
        truncated: the episode was cut here; the task would have gone on.
    """

    observation: np.ndarray
    reward: float
    cost: float
    terminated: bool
    truncated: bool


class ConstrainedEnvironment:
    """One running environment whose episodes depend on their seeds and actions alone.

    Args:
        definition: which.
        render: whether ``render()`` must give RGB frames.

    Raises:
        UserError: it cannot be built, or is not one a continuous policy can act in.
    """

    def __init__(self, definition: Constrained, render: bool = False):
        self.definition = definition
        try:
            self.raw = definition.make(render)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"the environment cannot be built: {type(error).__name__}: {error}",
                key=KEY,
                value=definition.name,
                fix="Check its name and arguments against the installed package.",
            ) from error
        low, high = _action_box(self.raw, definition.name)
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        self.observation_dim, self.action_dim = _observation_size(self.raw, definition.name), len(low)
        self._steps = 0

    def reset(self, seed: int) -> np.ndarray:
        """Begin the episode of that seed; the observation [O] float32.

        Raises:
            EnvironmentFailed: it raised, or the observation holds what is not a number.
        """
        self._steps = 0
        self.raw.action_space.seed(seed)
        try:
            observation, _ = self.raw.reset(seed=seed)
        except Exception as error:
            raise EnvironmentFailed(_said(self.definition.name, "reset", error)) from error
        return self._finite(np.asarray(observation, np.float32).ravel(), "observation")

    def step(self, action: np.ndarray) -> Step:
        """Act once.

        Args:
            action: [A] in [-1, 1], mapped affinely onto the action box.

        Raises:
            EnvironmentFailed: it raised, or answered with what is not a number.
            UserError: it reports no cost.
        """
        boxed = self._middle + np.clip(action, -1.0, 1.0) * self._half
        try:
            answer = self.raw.step(boxed.astype(self.raw.action_space.dtype))
        except Exception as error:
            raise EnvironmentFailed(_said(self.definition.name, "step", error)) from error
        observation, reward, cost, terminated, truncated = self._read(answer)
        self._steps += 1
        truncated = bool(truncated) or self._steps >= self.definition.episode_steps
        return Step(
            self._finite(np.asarray(observation, np.float32).ravel(), "observation"),
            float(self._finite(float(reward), "reward")),
            float(self._finite(float(cost), "cost")),
            bool(terminated),
            truncated and not terminated,
        )

    def close(self) -> None:
        """Free the simulator."""
        self.raw.close()

    def _read(self, answer: tuple) -> tuple[Any, Any, Any, Any, Any]:
        if len(answer) == 6:
            observation, reward, cost, terminated, truncated, _ = answer
            return observation, reward, cost, terminated, truncated
        observation, reward, terminated, truncated, info = answer
        if COST not in info:
            raise UserError(
                "reports no cost: its steps return five values and `info` holds no `cost`",
                key=KEY,
                value=self.definition.name,
                fix="Wrap it so that every step sets info['cost'], or name one that has a cost: "
                "`flowsweep environments list`.",
            )
        return observation, reward, info[COST], terminated, truncated

    def _finite(self, value: Any, what: str) -> Any:
        if not np.isfinite(value).all() if isinstance(value, np.ndarray) else not math.isfinite(value):
            raise EnvironmentFailed(
                f"environment {self.definition.name} gave a {what} that is not finite in step {self._steps} of an episode"
            )
        return value


def _said(name: str, during: str, error: Exception) -> str:
    return f"environment {name} raised in {during}: {type(error).__name__}: {error}"


def _action_box(raw: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    from gymnasium.spaces import Box

    space = raw.action_space
    fix = "Wrap it with a bounded Box of actions; policies here act in one."
    if not isinstance(space, Box):
        kind = type(space).__name__
        raise UserError(f"its actions are not continuous but {kind}", key=KEY, value=name, fix=fix)
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    if space.shape is None or len(space.shape) != 1 or not (np.isfinite(low) & np.isfinite(high)).all():
        raise UserError(f"its actions are not a bounded vector but {space}", key=KEY, value=name, fix=fix)
    return low, high


def _observation_size(raw: Any, name: str) -> int:
    from gymnasium.spaces import Box

    space = raw.observation_space
    if not isinstance(space, Box):
        raise UserError(
            f"its observations are not a vector but {type(space).__name__}",
            key=KEY,
            value=name,
            fix="Wrap it with gymnasium's FlattenObservation.",
        )
    return int(np.prod(space.shape))
