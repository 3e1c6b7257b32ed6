"""Datasets of one's own: arrays of steps become a Minari dataset, and a dataset that names no environment gets one.

A file holds a row per step, in order, under the names D4RL made common (Fu et al. 2020, https://arxiv.org/abs/2004.07219):
``observations``, ``actions``, ``rewards``, ``terminals`` (the task ended), ``timeouts`` (it was cut), and, where they are
known, ``next_observations``. Observations in parts are columns of their own: ``observations.desired_goal``.

Legend: E episodes, N steps, S = N + E states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .cache import file_digest
from .makers.recipe import Description, Episodes
from .names import minari_data_path, parse_name

Columns = dict[str, np.ndarray]
OBSERVATIONS, NEXT = "observations", "next_observations"
OTHER_NAMES = {
    "terminals": ("terminals", "terminations", "dones"),
    "timeouts": ("timeouts", "truncations"),
}
_FORM = (
    "Give a row per step: `observations`, `actions`, `rewards`, `terminals`, and `timeouts` where episodes were cut; "
    "`next_observations` if they are known."
)


def import_arrays(
    file: Path,
    name: str,
    *,
    environment: str | None = None,
    max_episode_steps: int | None = None,
    force: bool = False,
) -> str:
    """Turn arrays of steps into a Minari dataset.

    Without ``next_observations`` nothing is known of where the last step of an episode led: a step that ended the task keeps
    its own state there, whose value is never read; a step that was cut is left out.

    Args:
        file: ``.npz`` (without pickled objects), ``.hdf5`` or ``.h5``, or ``.parquet``.
        name: the Minari id it gets.
        environment: gymnasium id of the environment policies are scored in; its spaces must fit the arrays.
        max_episode_steps: steps after which an evaluation is cut, where the environment says none.
        force: replace a dataset of that id.

    Returns:
        The Minari id.

    Raises:
        UserError: the file cannot be read, its columns do not fit each other or the environment, or the id is taken.
    """
    target = parse_name(name, key="--name").minari_id
    if minari_data_path(target).exists() and not force:
        raise UserError(
            "a dataset of this name is already there",
            key="--name",
            value=target,
            fix="Replace it with `--force`.",
        )
    episodes = episodes_of(read_columns(file))
    from .makers.shards import worker_pool

    with worker_pool(1) as pool:
        pool.submit(_write, file, target, episodes, environment, max_episode_steps, force).result()
    return target


def read_columns(file: Path) -> Columns:
    """The columns of a file.

    Raises:
        UserError: it is of another kind, is not there, or holds objects instead of numbers.
    """
    readers: dict[str, Callable[[Path], Columns]] = {
        ".npz": _npz, ".hdf5": _hdf5, ".h5": _hdf5, ".parquet": _parquet
    }  # fmt: skip
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise UserError(
            "is of no kind that can be read", key="FILE", value=str(file), fix=f"Known: {', '.join(readers)}."
        )
    if not file.is_file():
        raise UserError("no such file", key="FILE", value=str(file))
    try:
        return reader(file)
    except (
        Exception
    ) as error:  # the many ways of numpy, zlib, h5py and pyarrow to say that a file is of another form
        raise UserError(
            f"cannot be read ({type(error).__name__}: {error})", key="FILE", value=str(file), fix=_FORM
        ) from error


def _npz(file: Path) -> Columns:
    with np.load(file) as stored:  # refuses pickled objects
        return {key: stored[key] for key in stored.files}


def _hdf5(file: Path) -> Columns:
    import h5py

    found: Columns = {}
    with h5py.File(file) as stored:

        def take(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset) and node.dtype.kind in "fiub" and node.ndim:
                found[name.replace("/", ".")] = node[()]

        stored.visititems(take)
    return found


def _parquet(file: Path) -> Columns:
    import pyarrow.parquet as parquet

    table = parquet.read_table(file)
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def episodes_of(columns: Mapping[str, np.ndarray]) -> Episodes:
    """Arrays of steps as episodes with one state more than steps each.

    Raises:
        UserError: columns are missing, of other lengths, or not of finite numbers.
    """
    actions, rewards = _column(columns, "actions", 2), _column(columns, "rewards", 1)
    count = len(rewards)
    parts = {key: _column(columns, key, 2) for key in columns if _is_part(key, OBSERVATIONS)}
    after = {key: _column(columns, key, 2) for key in columns if _is_part(key, NEXT)}
    if not parts:
        raise UserError("lacks `observations`", key="FILE", fix=_FORM)
    ended, cut = _ends(columns, "terminals", count), _ends(columns, "timeouts", count)
    for key, column in {"actions": actions, **parts, **after}.items():
        if len(column) != count:
            raise UserError(f"has {len(column):,} rows, rewards has {count:,}", key=key, fix=_FORM)
    if not (ended | cut).any() and count > 1:
        raise UserError("says of no step that an episode ends there", key="terminals", fix=_FORM)
    last = ended | cut
    if count and not last[-1]:
        last[-1] = cut[-1] = True
    kept = np.ones(count, bool) if after else ~(last & ~ended)
    return _cut(parts, after, actions, rewards, ended, last, kept)


def _cut(
    parts: Columns, after: Columns, actions: np.ndarray, rewards: np.ndarray, ended: np.ndarray,
    last: np.ndarray, kept: np.ndarray,
) -> Episodes:  # fmt: skip
    lengths, steps, states, sources = [], [], [], []
    begin = 0
    for end in np.flatnonzero(last).tolist():
        rows = [row for row in range(begin, end + 1) if kept[row]]
        if rows:
            lengths.append(len(rows))
            steps += rows
            # The state after the last step that is kept: known, or that of the next row, or its own.
            states += [*rows, end]
            sources += [False] * len(rows) + [bool(after)]
        begin = end + 1
    if not lengths:
        raise UserError("holds no episode of more than one step", key="FILE", fix=_FORM)
    picked, known = np.array(states), np.array(sources)
    observations = {}
    for key, column in parts.items():
        following = after.get(key.replace(OBSERVATIONS, NEXT, 1), column)
        shape = (-1, *[1] * (column.ndim - 1))
        observations[_entry(key)] = np.where(known.reshape(shape), following[picked], column[picked]).astype(
            np.float32
        )
    finals = np.cumsum(lengths) - 1
    terminations = ended[steps]
    truncations = np.zeros(len(steps), bool)
    truncations[finals] = ~terminations[finals]
    return Episodes(
        np.array(lengths, np.int64), observations, actions[steps].astype(np.float32),
        rewards[steps].astype(np.float32), terminations, truncations,
    )  # fmt: skip


def _is_part(key: str, base: str) -> bool:
    return key == base or key.startswith(f"{base}.")


def _entry(key: str) -> str:
    return key.partition(".")[2]


def _column(columns: Mapping[str, np.ndarray], key: str, dimensions: int) -> np.ndarray:
    if key not in columns:
        raise UserError(f"lacks `{key}`", key="FILE", fix=_FORM)
    found = np.asarray(columns[key])
    if found.dtype.kind not in "fiub":
        raise UserError("does not hold numbers", key=key, fix=_FORM)
    if found.ndim == dimensions - 1:
        found = found[:, None]
    if dimensions == 1:
        found = found.reshape(len(found), -1)[:, 0] if found.size == len(found) else found
    if found.ndim != dimensions:
        raise UserError(f"has {found.ndim} dimensions instead of {dimensions}", key=key, fix=_FORM)
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise UserError(f"is not finite in row {int(np.argwhere(~np.isfinite(found))[0][0])}", key=key)
    return found


def _ends(columns: Mapping[str, np.ndarray], key: str, count: int) -> np.ndarray:
    for name in OTHER_NAMES[key]:
        if name in columns:
            found = np.asarray(columns[name]).reshape(-1)
            if len(found) != count:
                raise UserError(f"has {len(found):,} rows, rewards has {count:,}", key=name, fix=_FORM)
            return found.astype(bool).copy()
    return np.zeros(count, bool)


def _write(
    file: Path, target: str, episodes: Episodes, environment: str | None, steps: int | None, force: bool
) -> None:
    from .makers.minari_file import write_minari

    spec = _spec(environment, steps)
    observation, action = _spaces(episodes, spec)
    source = {"file": file.name, "bytes": file.stat().st_size, "sha256": file_digest(file)}
    description = Description(
        observation_space=observation, action_space=action, environment=None, evaluation=spec,
        ref_min_score=None, ref_max_score=None,  # type: ignore[arg-type]
        requirements=[], text=f"Imported from {file.name}.", algorithm="not known", facts={"imported": source},
    )  # fmt: skip
    write_minari(target, episodes, description, {"made_by": "trainables.data.arrays"}, force)


def _spec(environment: str | None, steps: int | None) -> Any:
    """What gymnasium has registered under that id, with a limit of steps."""
    if environment is None:
        return None
    from ..envs.registered import registered_spec

    found = registered_spec(environment)
    if steps is not None:
        found = replace(found, max_episode_steps=steps)
    if found.max_episode_steps is None:
        raise UserError(
            "says of no step that an episode ends there", key="--environment", value=environment,
            fix="Say it: `--max-episode-steps 1000`.",
        )  # fmt: skip
    return found


def _spaces(episodes: Episodes, spec: Any) -> tuple[Any, Any]:
    """Spaces of the environment, once it is known that the arrays fit; of the arrays themselves where there is none."""
    from gymnasium.spaces import Box, Dict

    sizes = {entry: column.shape[1] for entry, column in episodes.observations.items()}
    if spec is None:
        boxes: Any = {entry: Box(-np.inf, np.inf, (size,), np.float32) for entry, size in sizes.items()}
        high = max(1.0, float(np.abs(episodes.actions).max()))
        return boxes.get("") or Dict(boxes), Box(-high, high, episodes.actions.shape[1:], np.float32)
    environment = _built(spec)
    try:
        observation, action = environment.observation_space, environment.action_space
    finally:
        environment.close()
    parts: dict[str, Any] = dict(observation.spaces) if isinstance(observation, Dict) else {"": observation}
    wanted = {entry: int(np.prod(space.shape)) for entry, space in parts.items()}
    if sizes != wanted:
        raise UserError(
            f"observations are {_sizes(sizes)}, those of the environment {_sizes(wanted)}", key="--environment",
            value=spec.id, fix="Name parts as `observations.NAME`, or another environment.",
        )  # fmt: skip
    _check_actions(episodes.actions, action, spec.id)
    return observation, action


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{entry or 'vectors'} of {size}" for entry, size in sorted(sizes.items()))


def _check_actions(actions: np.ndarray, space: Any, environment: str) -> None:
    if actions.shape[1:] != space.shape:
        raise UserError(
            f"actions are vectors of {actions.shape[1]}, the environment's space is {space}",
            key="--environment", value=environment,
        )  # fmt: skip
    beyond = np.argwhere((actions < space.low - 1e-5) | (actions > space.high + 1e-5))
    if len(beyond):
        row, entry = beyond[0].tolist()
        raise UserError(
            f"action {entry} of step {row:,} is {actions[row, entry]:g}, outside {space}", key="--environment",
            value=environment, fix="Scale the actions as the environment takes them.",
        )  # fmt: skip


def _built(spec: Any) -> Any:
    from ..envs.registered import gymnasium_with_environments

    try:
        return gymnasium_with_environments().make(spec.id, disable_env_checker=True)
    except Exception as error:
        raise UserError(
            f"cannot be built ({type(error).__name__}: {error})", key="--environment", value=spec.id,
            fix="Install what it needs.",
        ) from error  # fmt: skip
