"""OGBench manipulation "play" data: the benchmark's own scripted oracles, one random subtask after another.

Settings follow the published recipe (Park et al. 2024, OGBench, https://arxiv.org/abs/2410.20092, appendix on
datasets): plan oracles with temporally correlated noise 0.1, smoothed over 0.5 plan steps; episodes of 1,000 steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..simulators import ogbench_package
from .ogbench_file import episodes_from_rows, label_and_describe
from .recipe import Description, Episodes

_NOISE, _NOISE_SMOOTHING = 0.1, 0.5
_FIRST_OBJECT = 14  # of qpos: 6 arm and 8 gripper joints come before it
_SIDE_Y_M = (-0.3, 0.29)  # beyond these a cube is out of reach and of the camera's sight
_DRAWER_Z_M = (0.06, 0.08)  # heights at which a cube on the drawer's side lies in the drawer


def make_shard(options: Mapping[str, Any], steps: int, seeds: np.random.SeedSequence) -> Episodes:
    """Play whole episodes until ``steps`` environment steps are made.

    Args:
        options: ``environment``, ``episode_steps``, ``oracles`` (subtask to class), ``stack_probability``
            (least, greatest), ``discard_lost_cubes``.
        steps: a multiple of ``episode_steps``.
        seeds: gives the environment's stream. The oracles draw from NumPy's global generator, seeded by the caller.
    """
    import gymnasium

    ogbench_package()
    environment = gymnasium.make(
        options["environment"],
        terminate_at_goal=False,
        mode="data_collection",
        max_episode_steps=options["episode_steps"] + 1,
        disable_env_checker=True,
    )
    environment.action_space.seed(int(seeds.generate_state(2)[1]))
    oracles = {subtask: _oracle(kind, environment) for subtask, kind in options["oracles"].items()}
    wanted, kept = steps // options["episode_steps"], []
    seed: int | None = int(seeds.generate_state(1)[0])
    while len(kept) < wanted:
        episode = _play(environment, oracles, options, seed)
        seed = None  # the first reset seeds the whole stream
        if not (options["discard_lost_cubes"] and _cube_lost(episode["qpos"])):
            kept.append(episode)
    environment.close()
    return episodes_from_rows(kept)


def finish(options: Mapping[str, Any], episodes: Episodes) -> tuple[Episodes, Description]:
    """The episodes with the default task's rewards, and what the dataset says about itself."""
    return label_and_describe(
        episodes,
        options["ogbench_dataset"],
        algorithm="OGBench plan oracles",
        text=(
            f"{options['environment']}: scripted oracles solve one random subtask after another, with noise "
            f"{_NOISE} smoothed over {_NOISE_SMOOTHING} steps on their plans. Rewards are those of the default task."
        ),
    )


def _play(
    environment: Any, oracles: Mapping[str, Any], options: Mapping[str, Any], seed: int | None
) -> dict[str, np.ndarray]:
    least, most = options["stack_probability"]
    stack_probability = np.random.uniform(least, most)
    observation, info = environment.reset(seed=seed)
    oracle = oracles[info["privileged/target_task"]]
    oracle.reset(observation, info)
    rows = [_row(environment, observation)]
    actions = []
    for _ in range(options["episode_steps"]):
        action = np.clip(oracle.select_action(observation, info), -1.0, 1.0).astype(np.float32)
        observation, _, _, _, info = environment.step(action)
        if oracle.done:
            new_observation, new_info = environment.unwrapped.set_new_target(p_stack=stack_probability)
            oracle = oracles[new_info["privileged/target_task"]]
            oracle.reset(new_observation, new_info)
        actions.append(action)
        rows.append(_row(environment, observation))
    return {"actions": np.array(actions), **{key: np.array([row[key] for row in rows]) for key in rows[0]}}


def _row(environment: Any, observation: np.ndarray) -> dict[str, np.ndarray]:
    simulator = environment.unwrapped
    row = {
        "observations": observation.astype(np.float32),
        "qpos": simulator._data.qpos.astype(np.float32),
        "qvel": simulator._data.qvel.astype(np.float32),
    }
    if hasattr(simulator, "_cur_button_states"):
        row["button_states"] = np.array(simulator._cur_button_states, np.int64)
    return row


def _oracle(kind: str, environment: Any) -> Any:
    from ogbench.manipspace.oracles.plan import button_plan, cube_plan, drawer_plan, window_plan

    common = {"env": environment, "noise": _NOISE, "noise_smoothing": _NOISE_SMOOTHING}
    if kind == "button, closed gripper":
        return button_plan.ButtonPlanOracle(gripper_always_closed=True, **common)
    return {
        "cube": cube_plan.CubePlanOracle,
        "button": button_plan.ButtonPlanOracle,
        "drawer": drawer_plan.DrawerPlanOracle,
        "window": window_plan.WindowPlanOracle,
    }[kind](**common)


def _cube_lost(qpos: np.ndarray) -> bool:
    y, z = qpos[:, _FIRST_OBJECT + 1], qpos[:, _FIRST_OBJECT + 2]
    in_drawer = (z >= _DRAWER_Z_M[0]) & (z <= _DRAWER_Z_M[1])
    return bool(((y >= _SIDE_Y_M[1]) | ((y <= _SIDE_Y_M[0]) & ~in_drawer)).any())
