"""Rewards, masks and evaluation of OGBench datasets: any of a dataset's tasks, labelled after the fact.

Source: Park et al. 2024, OGBench (https://arxiv.org/abs/2410.20092) and its package, whose own relabelling is called.

Legend: N steps, S states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import UserError
from .dataset import EvaluationSpec
from .metadata import Metadata
from .names import DatasetName
from .semantics import Family, Labels
from .simulators import ogbench_package, silence
from .source import RawEpisodes, Spaces

TASKS = 5
_FROM_GLOBAL_RNG = ("maze", "soccer")


def ogbench_family(name: DatasetName, metadata: Metadata, spaces: Spaces) -> Family:
    """How an OGBench dataset is read: states as stored, rewards and masks of one task from stored simulator states.

    Raises:
        UserError: there is no such task.
    """
    if name.task is not None and name.task > TASKS:
        raise UserError(
            f"there are tasks 1 to {TASKS}",
            key="dataset",
            value=str(name),
            fix=f"Use `{name.minari_id}#task1`.",
        )
    if () not in spaces.observation:
        raise _unlike(name, "its observations are not one vector")
    original = metadata.provenance["ogbench_dataset"]
    return Family(
        name="ogbench",
        entries=((),),
        infos=tuple(metadata.provenance["simulator_state"]),
        label=lambda raw: _label(raw, original, name, spaces),
    )


def _unlike(name: DatasetName, why: str) -> UserError:
    return UserError(
        f"says it is of OGBench, but {why}", key="dataset", value=str(name),
        fix="Make or import it again; a file's name must say which OGBench environment it is of.",
    )  # fmt: skip


def _label(raw: RawEpisodes, original: str, name: DatasetName, spaces: Spaces) -> Labels:
    rows = raw.rows
    try:
        environment = single_task_environment(original, name.task)
        states = {key: values[rows] for key, values in raw.infos.items()}
        rewards, masks = relabel(environment, original, states)
    except UserError:
        raise
    except (
        Exception
    ) as error:  # gymnasium's and numpy's many ways to say that the name and the data do not fit
        why = f"cannot be labelled with the tasks of {original} ({type(error).__name__}: {error})"
        raise _unlike(name, why) from error
    chosen = environment.unwrapped._reward_task_id
    evaluation = EvaluationSpec(
        library="ogbench",
        id=single_task_name(original, chosen),
        action_low=tuple(spaces.action_low.tolist()),
        action_high=tuple(spaces.action_high.tolist()),
        max_episode_steps=environment.spec.max_episode_steps,
        global_rng=any(word in original for word in _FROM_GLOBAL_RNG),
    )
    environment.close()
    note = f"rewards and masks are those of task {chosen}, of the state acted in"
    return Labels(rewards, masks, evaluation, (note,))


def single_task_name(original: str, task: int | None) -> str:
    """``cube-single-play-v0`` and 2 give ``cube-single-play-singletask-task2-v0``; no task means the default one."""
    stem, version = original.rsplit("-", 1)
    return f"{stem}-singletask{'' if task is None else f'-task{task}'}-{version}"


def single_task_environment(original: str, task: int | None) -> Any:
    """The evaluation environment of one task of an OGBench dataset."""
    with silence():
        return ogbench_package().make_env_and_datasets(single_task_name(original, task), env_only=True)


def relabel(
    environment: Any, original: str, simulator_state: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and masks of the states that were acted in, by OGBench's own rules.

    Args:
        environment: as :func:`single_task_environment` gives.
        simulator_state: [N, ...] ``qpos`` and, where there are buttons, ``button_states``.

    Returns:
        [N] float32 rewards, [N] float32 masks.
    """
    from ogbench.relabel_utils import relabel_dataset

    stem = original.rsplit("-", 2)[0]
    columns = dict(simulator_state)
    # Resetting draws from NumPy's global generator in mazes; the caller's stream is none of its business.
    before = np.random.get_state()
    try:
        with silence():
            relabel_dataset(stem, environment, columns)
    finally:
        np.random.set_state(before)
    return columns["rewards"], columns["masks"]
