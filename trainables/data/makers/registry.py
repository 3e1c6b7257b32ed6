"""The recipes: every dataset that can be made here, with what it costs."""

from __future__ import annotations

from ...errors import UserError, nearest
from .recipe import Recipe

# Environment, its limit, and pointmaze.random_success_rate (300 episodes, mujoco 3.10.0).
_MAZES = {
    "umaze": ("PointMaze_UMaze-v3", 300, 0.18),
    "medium": ("PointMaze_Medium-v3", 600, 0.133),
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


def _play(
    scene: str,
    oracles: dict[str, str],
    stack_probability: tuple[float, float],
    steps_per_cpu_s: float,
    bytes_per_step: float,
    buttons: bool = False,
) -> Recipe:
    return Recipe(
        name=f"{scene}-play",
        summary=f"OGBench {scene}: scripted oracles, one random subtask after another; 5 tasks",
        maker="ogbench_play",
        family="ogbench",
        options={
            "environment": f"{scene}-v0",
            "ogbench_dataset": f"{scene}-play-v0",
            "episode_steps": 1000,
            "oracles": oracles,
            "stack_probability": list(stack_probability),
            "discard_lost_cubes": scene == "scene",
            "simulator_state": ["qpos", "qvel", *(["button_states"] if buttons else [])],
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
        summary=f"OGBench pointmaze-{maze}: noisy shortest routes to a stream of goals; 5 tasks",
        maker="ogbench_navigate",
        family="ogbench",
        options={
            "environment": f"pointmaze-{maze}-v0",
            "ogbench_dataset": f"pointmaze-{maze}-navigate-v0",
            "episode_steps": 1000,
            "simulator_state": ["qpos", "qvel"],
        },
        default_steps=100_000,
        shard_steps=20_000,
        steps_per_cpu_s=steps_per_cpu_s,
        bytes_per_step=60,
        episode_steps=1000,
    )


_SCENE = {kind: kind for kind in ("cube", "button", "drawer", "window")}
_BUTTONS = {"button": "button, closed gripper"}

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *(_pointmaze(maze) for maze in _MAZES),
        *(_pointmaze_detour(maze) for maze in _MAZES),
        _navigate("medium", 6500),
        _navigate("large", 5400),
        _play("cube-single", {"cube": "cube"}, (0.0, 0.0), 569, 290),
        _play("cube-double", {"cube": "cube"}, (0.0, 0.25), 491, 350),
        _play("cube-triple", {"cube": "cube"}, (0.05, 0.35), 514, 410),
        _play("scene", _SCENE, (0.5, 0.5), 463, 400, buttons=True),
        _play("puzzle-3x3", _BUTTONS, (0.5, 0.5), 522, 400, buttons=True),
        _play("puzzle-4x4", _BUTTONS, (0.5, 0.5), 464, 500, buttons=True),
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
