"""Environments as evaluations need them: flat float32 observations, actions in [-1, 1], every random draw seeded.

Legend: O observation size, A action size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import EvaluationSpec
from ..data.simulators import ogbench_package
from ..errors import UserError
from .registered import (
    KEY,
    checked_ogbench_name,
    gymnasium_with_environments,
    plain_arguments,
    registered_spec,
)


def make_environment(spec: EvaluationSpec, render: bool = False) -> Any:
    """The gymnasium environment a policy is scored in, cut at ``spec.max_episode_steps``.

    Args:
        spec: which library builds it, and how.
        render: whether ``render()`` must give RGB frames; needs ``MUJOCO_GL`` set to a working backend
            before mujoco is first imported in this process.

    Raises:
        UserError: the library has no such environment or cannot construct it.
    """
    try:
        return _makers[spec.library](spec, {"render_mode": "rgb_array"} if render else {})
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the {spec.library} environment cannot be built: {type(error).__name__}: {error}",
            key=KEY,
            value=spec.id,
            fix=f"Check the id and its arguments {dict(spec.kwargs)} against the installed {spec.library}.",
        ) from error


def make_quiet_simulator(env_id: str, kwargs: dict[str, Any], render: bool) -> Any:
    """An environment of gymnasium as it is: neither cut nor checked, so that a step may return six values.

    Raises:
        UserError: no installed package registers it.
    """
    registered_spec(env_id)
    if render:
        kwargs = {**kwargs, "render_mode": "rgb_array"}
    gymnasium = gymnasium_with_environments()
    return gymnasium.make(env_id, max_episode_steps=-1, disable_env_checker=True, **kwargs)


def _make_gymnasium(spec: EvaluationSpec, own: dict[str, Any]) -> Any:
    registered_spec(spec.id)
    arguments = plain_arguments(spec.id, spec.kwargs)
    environment = gymnasium_with_environments().make(
        spec.id, max_episode_steps=spec.max_episode_steps, disable_env_checker=True, **arguments, **own
    )
    model_file = getattr(environment.unwrapped, "tmp_xml_file_path", None)
    if (
        model_file is not None
    ):  # mazes leave their generated model in the temporary folder, one per environment
        Path(model_file).unlink(missing_ok=True)
    return environment


def _make_ogbench(spec: EvaluationSpec, own: dict[str, Any]) -> Any:
    name = checked_ogbench_name(spec.id)
    return ogbench_package().make_env_and_datasets(
        name,
        env_only=True,
        max_episode_steps=spec.max_episode_steps,
        disable_env_checker=True,
        **plain_arguments(spec.id, spec.kwargs),
        **own,
    )


_makers = {"gymnasium": _make_gymnasium, "ogbench": _make_ogbench}


@dataclass(frozen=True)
class EpisodeSeeds:
    """What the randomness of one episode starts from, besides the policy's noise."""

    environment: int
    """For ``reset(seed=...)`` and the action space."""
    global_rng: int
    """For NumPy's global generator, where the environment draws from it."""

    @classmethod
    def of(cls, seed: int, number: int) -> EpisodeSeeds:
        """The seeds of episode ``number`` in an evaluation with this seed: ``SeedSequence(seed, (0, number))``."""
        words = np.random.SeedSequence(seed, spawn_key=(0, number)).generate_state(2)
        return cls(environment=int(words[0]), global_rng=int(words[1]))


class EpisodeEnvironment:
    """One environment whose episodes depend on their seeds and actions alone.

    Environments that draw from NumPy's global generator get a stream of their own, swapped in around every
    call, so that neither other environments nor the caller's draws reach into an episode.
    """

    def __init__(self, spec: EvaluationSpec, render: bool = False):
        self.spec = spec
        self.raw = make_environment(spec, render)
        self._low = np.asarray(spec.action_low, np.float64)
        self._high = np.asarray(spec.action_high, np.float64)
        self._global_state: Any = None

    def reset(self, seeds: EpisodeSeeds) -> np.ndarray:
        """Begin an episode; returns the observation, [O] float32."""
        self._global_state = np.random.RandomState(seeds.global_rng).get_state()
        self.raw.action_space.seed(seeds.environment)
        with self._own_global_rng():
            observation, _ = self.raw.reset(seed=seeds.environment)
        return self._flat(observation)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool | None]:
        """Act for one environment step.

        Args:
            action: [A] in [-1, 1], mapped affinely onto the action box.

        Returns:
            The observation [O] float32, the reward, whether the episode is over, and whether the task is
            solved now (None where the environment does not say).
        """
        boxed = self._low + (np.clip(action, -1.0, 1.0) + 1.0) * 0.5 * (self._high - self._low)
        with self._own_global_rng():
            observation, reward, terminated, truncated, info = self.raw.step(
                boxed.astype(self.raw.action_space.dtype)
            )
        success = info.get("success")
        return (
            self._flat(observation),
            float(reward),
            bool(terminated or truncated),
            None if success is None else bool(success),
        )

    def close(self) -> None:
        """Free the simulator."""
        self.raw.close()

    def _flat(self, observation: Any) -> np.ndarray:
        if self.spec.observation_keys:
            observation = np.concatenate([np.ravel(observation[key]) for key in self.spec.observation_keys])
        return np.asarray(observation, np.float32).ravel()

    @contextlib.contextmanager
    def _own_global_rng(self) -> Iterator[None]:
        if not self.spec.global_rng:
            yield
            return
        outer = np.random.get_state()
        np.random.set_state(self._global_state)
        try:
            yield
        finally:
            self._global_state = np.random.get_state()
            np.random.set_state(outer)


_pools: dict[str, list[EpisodeEnvironment]] = {}


def pooled(spec: EvaluationSpec, count: int) -> Sequence[EpisodeEnvironment]:
    """``count`` environments of this process, built when first needed and kept for the next evaluation.

    Only one kind is kept: asking for another closes the former ones, which can hold gigabytes.
    """
    key = spec.model_dump_json()
    for other in [known for known in _pools if known != key]:
        for environment in _pools.pop(other):
            environment.close()
    pool = _pools.setdefault(key, [])
    while len(pool) < count:
        pool.append(EpisodeEnvironment(spec))
    return pool[:count]
