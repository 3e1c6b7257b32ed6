"""Reading a Minari dataset once, straight into arrays, and refusing one that is not whole.

Legend: E episodes, N steps, S = N + E states, O observation size, A action size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .metadata import Metadata

Entry = tuple[str, ...]
"""Path of one array inside an observation: ``()`` for an array observation, ``("desired_goal",)`` in a dict."""


@dataclass(frozen=True)
class Spaces:
    """What the observations and actions of a dataset are.

    Attributes:
        observation: sizes of the one-dimensional arrays in an observation, by entry.
        action_low: [A] lower bounds.
        action_high: [A] upper bounds.
        left_out: the parts of an observation that are no such arrays, by entry, in words.
    """

    observation: Mapping[Entry, int]
    action_low: np.ndarray
    action_high: np.ndarray
    left_out: Mapping[Entry, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RawEpisodes:
    """A dataset's episodes end to end, as stored.

    Attributes:
        lengths: [E] int64 steps.
        states: [S, O] float32, the wanted entries side by side.
        actions: [N, A] float64.
        rewards: [N] float64.
        terminations: [N] bool.
        infos: [S, ...] wanted infos, by name.
    """

    lengths: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminations: np.ndarray
    infos: Mapping[str, np.ndarray]

    @property
    def rows(self) -> np.ndarray:
        """[N] int64, the state row of each step: every episode has one state more than steps."""
        episode = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return np.arange(len(self.rewards)) + episode

    @property
    def last_steps(self) -> np.ndarray:
        """[E] the index of each episode's last step."""
        return np.cumsum(self.lengths) - 1

    @property
    def first_rows(self) -> np.ndarray:
        """[E] the row of each episode's first state."""
        return np.cumsum(self.lengths + 1) - (self.lengths + 1)


def source_guard(data: Path) -> str:
    """A digest that changes whenever the dataset's files do: names, sizes and times, no content. Costs microseconds."""
    entries = sorted(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in data.iterdir()
        if not path.name.startswith(".")
    )
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def read_spaces(observation_space: Any, action_space: Any, name: str) -> Spaces:
    """Sizes and bounds, or why a flow policy cannot learn from them.

    Raises:
        UserError: actions are discrete or unbounded, or observations are not vectors.
    """
    from gymnasium.spaces import Box, Dict

    if not isinstance(action_space, Box) or action_space.dtype.kind != "f" or len(action_space.shape) != 1:  # type: ignore[union-attr]
        raise UserError(
            f"actions are {action_space}, and a flow policy needs a vector of real numbers",
            key="dataset",
            value=name,
            fix="Choose a dataset with a continuous (Box) action space.",
        )
    low, high = action_space.low.astype(np.float64), action_space.high.astype(np.float64)
    _check_bounds(low, high, name)
    sizes: dict[Entry, int] = {}
    others: dict[Entry, str] = {}

    def sort(space: Any, entry: Entry) -> None:
        if isinstance(space, Dict):
            for key, part in space.spaces.items():
                sort(part, (*entry, key))
        elif isinstance(space, Box) and len(space.shape) == 1 and space.dtype.kind == "f":  # type: ignore[union-attr]
            sizes[entry] = space.shape[0]
        else:
            others[entry] = _in_words(space)

    sort(observation_space, ())
    if not sizes:
        raise UserError(
            f"observations are {type(observation_space).__name__} without any vector of real numbers",
            key="dataset",
            value=name,
            fix="Choose a dataset of states; images, text and discrete observations are not supported.",
        )
    return Spaces(sizes, low, high, others)


def _check_bounds(low: np.ndarray, high: np.ndarray, name: str) -> None:
    for wrong, what, fix in (
        (
            ~(np.isfinite(low) & np.isfinite(high)), "is unbounded, so actions cannot be scaled to [-1, 1]",
            "Choose a dataset whose action space has finite bounds.",
        ),
        (low > high, "has its lower bound above its upper one", "Correct the action space of the dataset."),
        (
            low == high, "has one bound for both sides, so it can only take that value and there is nothing to learn",
            "Leave that entry out of the actions, or give the space the bounds its environment has.",
        ),
    ):  # fmt: skip
        if wrong.any():
            entry = int(np.flatnonzero(wrong)[0])
            raise UserError(
                f"action entry {entry} ({low[entry]:g} to {high[entry]:g}) {what}",
                key="dataset",
                value=name,
                fix=fix,
            )


def _in_words(space: Any) -> str:
    shape = "x".join(str(size) for size in space.shape) if space.shape else ""
    return " ".join(part for part in (shape, str(space.dtype or ""), type(space).__name__) if part)


def read_episodes(
    storage: Any,
    metadata: Metadata,
    spaces: Spaces,
    entries: Sequence[Entry],
    infos: Sequence[str],
    name: str,
) -> RawEpisodes:
    """Read every episode.

    Args:
        storage: Minari's storage object of the dataset.
        metadata: what the dataset says of itself.
        entries: which arrays of the observation, in the order they are laid side by side.
        infos: names of per-state infos to keep.

    Raises:
        UserError: files cannot be read, an episode is inconsistent, or the episodes do not add up to the declared total.
    """
    try:
        with _episode_source(storage, metadata) as episodes:
            return _collect(episodes, spaces, entries, infos, name)
    except UserError:
        raise
    except (
        Exception
    ) as error:  # the many ways of h5py, pyarrow and Minari to say that a file is not what it should be
        raise UserError(
            f"its files cannot be read ({type(error).__name__}: {error})",
            key="dataset",
            value=name,
            fix=_REMAKE,
        ) from error


_REMAKE = "Make, import or download it again (`flowsweep data make --force` or `minari download --force`)."


def _check_totals(source: _Source, name: str) -> None:
    found, (steps, episodes) = source.lengths, source.declared
    if found.sum() != steps or len(found) != episodes:
        raise UserError(
            f"it declares {steps} steps in {episodes} episodes, but its files hold {found.sum()} in {len(found)}",
            key="dataset",
            value=name,
            fix="Minari 0.5.4 does this to arrow and parquet episodes of 32,768 steps or more: use the hdf5 form.",
        )
    if not steps:
        raise UserError("it holds no transitions", key="dataset", value=name, fix=_REMAKE)


def _collect(
    source: _Source, spaces: Spaces, entries: Sequence[Entry], infos: Sequence[str], name: str
) -> RawEpisodes:
    _check_totals(source, name)
    lengths = source.lengths
    steps, states = int(lengths.sum()), int(lengths.sum() + len(lengths))
    edges = np.concatenate([[0], np.cumsum([spaces.observation[entry] for entry in entries])])
    kept: dict[str, np.ndarray] = {}
    raw = RawEpisodes(
        lengths=lengths,
        states=np.empty((states, edges[-1]), np.float32),
        actions=np.empty((steps, len(spaces.action_low)), np.float64),
        rewards=np.empty(steps, np.float64),
        terminations=np.empty(steps, np.bool_),
        infos=kept,
    )
    step = state = 0
    for index, (length, episode) in enumerate(zip(lengths.tolist(), source.episodes(), strict=True)):
        at, seen = slice(step, step + length), slice(state, state + length + 1)
        for entry, left, right in zip(entries, edges[:-1], edges[1:], strict=True):
            _place(raw.states[seen, left:right], episode(("observations", *entry)), name, index)
        for column in ("actions", "rewards", "terminations"):
            _place(getattr(raw, column)[at], episode((column,)), name, index)
        for info in infos:
            values = np.asarray(episode(("infos", info)))
            if info not in kept:
                kept[info] = np.empty((states, *values.shape[1:]), values.dtype)
            _place(kept[info][seen], values, name, index)
        step, state = at.stop, seen.stop
    return raw


def _place(target: np.ndarray, values: np.ndarray, name: str, episode: int) -> None:
    values = np.asarray(values)
    if values.shape != target.shape:
        raise UserError(
            f"episode {episode} holds an array of shape {values.shape} where {target.shape} was expected",
            key="dataset",
            value=name,
            fix=_REMAKE,
        )
    flags = target.dtype == np.bool_
    if values.dtype.kind not in "fiub" or (
        flags and values.dtype.kind != "b" and not np.isin(values, (0, 1)).all()
    ):
        raise UserError(
            f"episode {episode} holds {values.dtype} values where {'0 and 1' if flags else 'numbers'} were expected",
            key="dataset", value=name, fix=_REMAKE,
        )  # fmt: skip
    with np.errstate(
        over="ignore"
    ):  # what does not fit into float32 becomes infinite, and is refused as such
        target[...] = values


Fetch = Callable[[tuple[str, ...]], Any]


@dataclass
class _Source:
    """Episodes one after the other, each as a function from a path to an array."""

    lengths: np.ndarray
    declared: tuple[int, int]
    episodes: Callable[[], Iterable[Fetch]]
    close: Callable[[], None]

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _episode_source(storage: Any, metadata: Metadata) -> _Source:
    declared = (metadata.steps, metadata.episodes)
    if metadata.data_format == "hdf5":
        return _hdf5_source(Path(storage.data_path) / "main_data.hdf5", declared)
    episodes = list(storage.get_episodes(range(declared[1])))
    lengths = np.array([len(episode["rewards"]) for episode in episodes], np.int64)

    def fetchers() -> Iterable[Fetch]:
        for episode in episodes:
            yield lambda path, episode=episode: _walk(episode, path)

    return _Source(lengths, declared, fetchers, lambda: None)


def _hdf5_source(path: Path, declared: tuple[int, int]) -> _Source:
    # Past Minari's reader, which decodes every array of an episode, wanted or not.
    import h5py

    file = h5py.File(path, "r")
    groups = [file[f"episode_{index}"] for index in range(len(file))]
    lengths = np.array([group["rewards"].shape[0] for group in groups], np.int64)  # type: ignore[index, union-attr]

    def fetchers() -> Iterable[Fetch]:
        for group in groups:
            yield lambda path, group=group: group["/".join(path)][()]  # type: ignore[index]

    return _Source(lengths, declared, fetchers, file.close)


def _walk(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value[key]
    return value
