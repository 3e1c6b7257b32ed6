"""OGBench point-maze "navigate" data: a noisy walk along shortest routes, a new goal whenever one is reached.

Follows the published recipe (Park et al. 2024, OGBench, https://arxiv.org/abs/2410.20092): unit steps towards the next
cell plus N(0, 0.5) on each action, goals at junctions and dead ends, episodes of 1,000 steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..simulators import ogbench_package
from .maze import Cell, GridMaze
from .ogbench_file import episodes_from_rows, label_and_describe
from .recipe import Description, Episodes

_NOISE = 0.5


def make_shard(options: Mapping[str, Any], steps: int, seeds: np.random.SeedSequence) -> Episodes:
    """Play whole episodes until ``steps`` environment steps are made.

    Args:
        options: ``environment``, ``episode_steps``.
        steps: a multiple of ``episode_steps``.
        seeds: gives the environment's and the walker's streams; the maze also draws from NumPy's global generator.
    """
    import gymnasium

    ogbench_package()
    environment: Any = gymnasium.make(
        options["environment"],
        terminate_at_goal=False,
        max_episode_steps=options["episode_steps"] + 1,
        disable_env_checker=True,
    )
    environment_seeds, walker_seeds = seeds.spawn(2)
    rng = np.random.default_rng(walker_seeds)
    maze = GridMaze(environment.unwrapped.maze_map.tolist())
    goals = _junctions_and_ends(maze)
    first, second = (int(word) for word in environment_seeds.generate_state(2))
    environment.action_space.seed(first)
    environment.reset(seed=second)
    count = steps // options["episode_steps"]
    kept = [_walk(environment, maze, goals, options["episode_steps"], rng) for _ in range(count)]
    environment.close()
    return episodes_from_rows(kept)


def finish(options: Mapping[str, Any], episodes: Episodes) -> tuple[Episodes, Description]:
    """The episodes with the default task's rewards, and what the dataset says about itself."""
    return label_and_describe(
        episodes,
        options["ogbench_dataset"],
        algorithm="noisy shortest routes",
        text=(
            f"{options['environment']}: unit steps along shortest routes to random goals with N(0, {_NOISE}) noise, "
            "a new goal whenever one is reached. Rewards are those of the default task."
        ),
    )


def _walk(
    environment: Any, maze: GridMaze, goals: list[Cell], steps: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    simulator = environment.unwrapped
    start, goal = maze.free[rng.integers(len(maze.free))], goals[rng.integers(len(goals))]
    observation, _ = environment.reset(options={"task_info": {"init_ij": start, "goal_ij": goal}})
    rows, actions = [_row(simulator, observation)], []
    for _ in range(steps):
        position = simulator.get_xy()
        towards = simulator.ij_to_xy(maze.next_cell(simulator.xy_to_ij(position), goal)) - position
        direction = towards / (np.linalg.norm(towards) + 1e-6)
        action = np.clip(direction + _NOISE * rng.standard_normal(2), -1, 1).astype(np.float32)
        observation, _, _, _, info = environment.step(action)
        if info["success"]:
            goal = goals[rng.integers(len(goals))]
            simulator.set_goal(goal_xy=simulator.add_noise(simulator.ij_to_xy(goal)))
        actions.append(action)
        rows.append(_row(simulator, observation))
    return {"actions": np.array(actions), **{key: np.array([row[key] for row in rows]) for key in rows[0]}}


def _row(simulator: Any, observation: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "observations": observation.astype(np.float32),
        "qpos": simulator.data.qpos.astype(np.float32),
        "qvel": simulator.data.qvel.astype(np.float32),
    }


def _junctions_and_ends(maze: GridMaze) -> list[Cell]:
    free = set(maze.free)

    def is_corridor(cell: Cell) -> bool:
        i, j = cell
        vertical = ((i - 1, j) in free, (i + 1, j) in free)
        horizontal = ((i, j - 1) in free, (i, j + 1) in free)
        return (all(vertical) and not any(horizontal)) or (all(horizontal) and not any(vertical))

    return [cell for cell in maze.free if not is_corridor(cell)]
