"""Point-mass mazes of gymnasium-robotics, driven by a noisy waypoint follower.

The recipe is that of D4RL's maze2d (Fu et al. 2020, https://arxiv.org/abs/2004.07219): one long rollout with a new
goal each time one is reached, cut into an episode per goal. Unlike there, the first observation of an episode
already carries that episode's goal, and reaching the goal terminates the episode.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from ..simulators import gymnasium_with_robotics
from .maze import GridMaze, WaypointFollower
from .recipe import Description, Episodes


def make_shard(options: Mapping[str, Any], steps: int, seeds: np.random.SeedSequence) -> Episodes:
    """Play ``steps`` environment steps.

    Args:
        options: ``environment`` (gymnasium id), ``noise``, ``detours`` (least, greatest), ``longest_episode_steps``.
        steps: environment steps; an episode still running at the end is cut there.
        seeds: gives the environment's and the follower's streams.
    """
    environment_seeds, follower_seeds = seeds.spawn(2)
    environment = _construct(options["environment"], continuing_task=True, reset_target=True)
    maze = GridMaze(environment.maze.maze_map, environment.maze.maze_size_scaling)
    follower = WaypointFollower(
        maze, options["noise"], tuple(options["detours"]), np.random.default_rng(follower_seeds)
    )
    observation, _ = environment.reset(seed=int(environment_seeds.generate_state(1)[0]))
    episode = _Recorder()
    goal = observation["desired_goal"]
    state = observation["observation"]
    follower.aim(state, goal)
    episode.begin(state, goal)
    for step in range(1, steps + 1):
        action = follower.act(*state.tolist())
        observation, reward, *_ = environment.step(action)
        state = observation["observation"]
        reached = reward > 0
        cut = not reached and (step == steps or episode.steps + 1 == options["longest_episode_steps"])
        episode.add(action, state, goal, reached, cut)
        if (reached or cut) and step < steps:
            # The environment has drawn the new goal, but the observation it returned still shows the old one.
            goal = environment.goal.copy()
            follower.aim(state, goal)
            episode.begin(state, goal)
    environment.close()
    return episode.finish()


class _Recorder:
    def __init__(self):
        self._states: list[np.ndarray] = []
        self._goals: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._reached: list[bool] = []
        self._cut: list[bool] = []
        self._lengths: list[int] = []

    @property
    def steps(self) -> int:
        return self._lengths[-1]

    def begin(self, state: np.ndarray, goal: np.ndarray) -> None:
        self._lengths.append(0)
        self._states.append(state)
        self._goals.append(goal)

    def add(self, action: np.ndarray, state: np.ndarray, goal: np.ndarray, reached: bool, cut: bool) -> None:
        self._lengths[-1] += 1
        self._states.append(state)
        self._goals.append(goal)
        self._actions.append(action)
        self._reached.append(reached)
        self._cut.append(cut)

    def finish(self) -> Episodes:
        states = np.array(self._states)
        reached = np.array(self._reached)
        return Episodes(
            lengths=np.array(self._lengths, np.int64),
            observations={
                "observation": states,
                "achieved_goal": states[:, :2],
                "desired_goal": np.array(self._goals),
            },
            actions=np.array(self._actions, np.float32),
            rewards=reached.astype(np.float32),
            terminations=reached,
            truncations=np.array(self._cut),
        )


def finish(options: Mapping[str, Any], episodes: Episodes) -> tuple[Episodes, Description]:
    """The episodes as they are; spaces, environments and reference scores (success rates)."""
    environment = _construct(options["environment"])
    registered = gymnasium_with_robotics().spec(options["environment"])
    collection = _with_arguments(registered, continuing_task=True, reset_target=True)
    evaluation = _with_arguments(registered, continuing_task=False, reset_target=False)
    least, most = options["detours"]
    detours = f" after {least} to {most} random intermediate cells" if most else ""
    return episodes, Description(
        observation_space=environment.observation_space,
        action_space=environment.action_space,
        environment=collection,
        evaluation=evaluation,
        ref_min_score=options["random_success_rate"],
        ref_max_score=1.0,
        requirements=[f"mujoco=={version('mujoco')}", f"gymnasium-robotics=={version('gymnasium-robotics')}"],
        text=(
            f"{options['environment']}: shortest routes to a stream of random goals{detours}, followed by a "
            f"proportional-derivative controller with N(0, {options['noise']}) noise on each action. "
            "Reward 1 on reaching the goal, which terminates the episode."
        ),
        algorithm="waypoint follower",
    )


def random_success_rate(environment_id: str, episodes: int = 300) -> float:
    """Share of episodes in which uniformly random actions reach the goal: the reference score of "nothing learnt".

    Episode k is reset with seed k and draws its actions from ``default_rng(k)``.
    """
    environment = _construct(environment_id, continuing_task=False, reset_target=False)
    limit = gymnasium_with_robotics().spec(environment_id).max_episode_steps
    reached = 0
    for episode in range(episodes):
        rng = np.random.default_rng(episode)
        environment.reset(seed=episode)
        reached += any(environment.step(rng.uniform(-1, 1, size=2))[2] for _ in range(limit))
    environment.close()
    return reached / episodes


def _with_arguments(registered: Any, **kwargs: Any) -> Any:
    spec = copy.deepcopy(registered)  # the registry hands out its own object
    spec.kwargs.update(kwargs)
    return spec


def _construct(environment_id: str, **kwargs: Any) -> Any:
    gymnasium = gymnasium_with_robotics()
    # The maze's model file is written beside the temporary folder it asks for, and left there; give it one that goes.
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            return gymnasium.make(environment_id, disable_env_checker=True, **kwargs).unwrapped
        finally:
            tempfile.tempdir = before
