"""The recipes: every dataset that can be made here, with what it costs."""

from __future__ import annotations

from dataclasses import replace

from ...errors import UserError, nearest
from .recipe import Recipe

# Environment; its limit; pointmaze.random_success_rate (300 episodes, mujoco 3.10.0); bytes per step, direct and detour.
_MAZES = {
    "umaze": ("PointMaze_UMaze-v3", 300, 0.18, 319, 218),
    "medium": ("PointMaze_Medium-v3", 600, 0.133, 203, 137),
    "large": ("PointMaze_Large-v3", 800, 0.12, 175, 119),
}


def _pointmaze(maze: str) -> Recipe:
    environment, limit, random_success_rate, bytes_per_step, _ = _MAZES[maze]
    return Recipe(
        name=f"pointmaze-{maze}",
        summary=f"{environment}: noisy shortest routes to goal after goal (as D4RL maze2d)",
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
        steps_per_cpu_s=21_000,
        bytes_per_step=bytes_per_step,
    )


def _pointmaze_detour(maze: str) -> Recipe:
    direct = _pointmaze(maze)
    return replace(
        direct,
        name=f"pointmaze-{maze}-detour",
        summary=f"{direct.options['environment']}: each goal after 1 or 2 random detours; shorter ways can be stitched",
        options={**direct.options, "noise": 0.75, "detours": [1, 2], "longest_episode_steps": 3000},
        bytes_per_step=_MAZES[maze][-1],
    )


def _play(
    scene: str,
    oracles: dict[str, str],
    stack_probability: tuple[float, float],
    steps_per_cpu_s: float,
    bytes_per_step: float,
) -> Recipe:
    return Recipe(
        name=f"{scene}-play",
        summary=f"OGBench {scene}: scripted oracles, one random subtask after another",
        maker="ogbench_play",
        family="ogbench",
        options={
            "environment": f"{scene}-v0",
            "ogbench_dataset": f"{scene}-play-v0",
            "episode_steps": 1000,
            "oracles": oracles,
            "stack_probability": list(stack_probability),
            "discard_lost_cubes": scene == "scene",
        },
        default_steps=100_000,
        shard_steps=10_000,
        steps_per_cpu_s=steps_per_cpu_s,
        bytes_per_step=bytes_per_step,
        episode_steps=1000,
    )


def _navigate(maze: str, steps_per_cpu_s: float) -> Recipe:
    return Recipe(
        name=f"pointmaze-{maze}-navigate",
        summary=f"OGBench pointmaze-{maze}: noisy shortest routes to goal after goal",
        maker="ogbench_navigate",
        family="ogbench",
        options={
            "environment": f"pointmaze-{maze}-v0",
            "ogbench_dataset": f"pointmaze-{maze}-navigate-v0",
            "episode_steps": 1000,
        },
        default_steps=100_000,
        shard_steps=20_000,
        steps_per_cpu_s=steps_per_cpu_s,
        bytes_per_step=66,
        episode_steps=1000,
    )


def _tolerance(suffix: str, actions: int = 6, loose_spread: float = 0.4, tolerance: float = 0.08) -> Recipe:
    return Recipe(
        name=f"tolerance-{suffix}",
        summary=f"one step, {actions} actions: reward along 2 loose directions (sd {loose_spread:g}), none beyond "
        f"{tolerance:g} in the others",
        maker="tolerance",
        family="plain",
        options={
            "actions": actions,
            "loose_spread": loose_spread,
            "tight_spread": 0.02,
            "tolerance": tolerance,
        },
        default_steps=20_000,
        shard_steps=20_000,
        steps_per_cpu_s=20_000,
        bytes_per_step=210,
        episode_steps=100,
    )


_SCENE = {kind: kind for kind in ("cube", "button", "drawer", "window")}
_BUTTONS = {"button": "button, closed gripper"}

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *(_pointmaze(maze) for maze in _MAZES),
        *(_pointmaze_detour(maze) for maze in _MAZES),
        *(_tolerance(f"a{actions}", actions) for actions in (4, 6, 8, 16)),
        *(_tolerance(f"a6-loose{spread}", loose_spread=spread / 100) for spread in (10, 20, 80)),
        *(_tolerance(f"a6-within{width}", tolerance=width / 100) for width in (5, 12)),
        _navigate("medium", 14_500),
        _navigate("large", 14_500),
        _play("cube-single", {"cube": "cube"}, (0.0, 0.0), 650, 336),
        _play("cube-double", {"cube": "cube"}, (0.0, 0.25), 630, 441),
        _play("cube-triple", {"cube": "cube"}, (0.05, 0.35), 580, 521),
        _play("scene", _SCENE, (0.5, 0.5), 560, 443),
        _play("puzzle-3x3", _BUTTONS, (0.5, 0.5), 580, 556),
        _play("puzzle-4x4", _BUTTONS, (0.5, 0.5), 470, 782),
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
