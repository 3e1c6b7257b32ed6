"""The recipes: every dataset that can be made here, with what it costs."""

from __future__ import annotations

from ...errors import UserError, nearest
from .recipe import Recipe

# Success rate of uniformly random actions in the evaluation environment, 300 episodes, seeds 0..299.
_MAZES = {
    "umaze": ("PointMaze_UMaze-v3", 300, 0.25),
    "medium": ("PointMaze_Medium-v3", 600, 0.15),
    "large": ("PointMaze_Large-v3", 800, 0.12),
}


def _pointmaze(maze: str) -> Recipe:
    environment, limit, random_success_rate = _MAZES[maze]
    return Recipe(
        name=f"pointmaze-{maze}",
        summary=f"{environment}: noisy shortest routes to a stream of goals (as D4RL maze2d)",
        maker="pointmaze",
        family="pointmaze",
        options={
            "environment": environment,
            "noise": 0.5,
            "detours": [0, 0],
            "longest_episode_steps": limit,
            "random_success_rate": random_success_rate,
        },
        default_steps=100_000,
        shard_steps=10_000,
        steps_per_cpu_s=14_000,
        bytes_per_step=340,
    )


def _pointmaze_detour(maze: str) -> Recipe:
    direct = _pointmaze(maze)
    return Recipe(
        name=f"pointmaze-{maze}-detour",
        summary=f"{direct.options['environment']}: each goal after 1 or 2 random detours, so shorter ways can be stitched",
        maker=direct.maker,
        family=direct.family,
        options={**direct.options, "noise": 0.75, "detours": [1, 2], "longest_episode_steps": 3000},
        default_steps=direct.default_steps,
        shard_steps=direct.shard_steps,
        steps_per_cpu_s=direct.steps_per_cpu_s,
        bytes_per_step=150,
    )


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *(_pointmaze(maze) for maze in _MAZES),
        *(_pointmaze_detour(maze) for maze in _MAZES),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UserError: there is none.
    """
    if name not in RECIPES:
        raise UserError("no such recipe", key="recipe", value=name, fix=nearest(name, RECIPES))
    return RECIPES[name]
