"""Making a dataset in pieces: each piece seeded by its place, kept when finished, so that a kill costs one piece."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
import warnings
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from .recipe import Episodes, Recipe

Progress = Callable[[int, int], None]
"""Called with environment steps done and environment steps in all."""


def shard_sizes(recipe: Recipe, steps: int) -> list[int]:
    """Environment steps of every shard: a matter of the recipe and the size alone."""
    whole, rest = divmod(steps, recipe.shard_steps)
    return [recipe.shard_steps] * whole + ([rest] if rest else [])


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Fresh processes that import simulators without a renderer and share nothing with this one."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_prepare)


def make_shards(
    pool: ProcessPoolExecutor, recipe: Recipe, steps: int, seed: int, work: Path, progress: Progress
) -> list[Path]:
    """Make every shard that is not already in the work folder.

    Returns:
        The shards' files in order.
    """
    sizes = shard_sizes(recipe, steps)
    files = [work / f"shard-{index:05d}.npz" for index in range(len(sizes))]
    pending: dict[Future[None], int] = {}
    done = 0
    for index, (file, size) in enumerate(zip(files, sizes, strict=True)):
        if file.exists() and read_shard(file) is not None:
            done += size
        else:
            pending[pool.submit(_make_shard_file, recipe, size, seed, index, file)] = size
    progress(done, steps)
    try:
        while pending:
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                done += pending.pop(future)
            progress(done, steps)
    except BaseException:
        for future in pending:
            future.cancel()
        raise
    return files


def read_shard(file: Path) -> Episodes | None:
    """The episodes of a finished shard, or None when the file is torn."""
    try:
        with np.load(file) as stored:
            columns = {name: stored[name] for name in stored.files}
        plain: dict[str, Any] = {name: columns[name] for name in columns if "/" not in name}
        return Episodes(**plain, observations=_named(columns, "observations"), infos=_named(columns, "infos"))
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def join(parts: Sequence[Episodes]) -> Episodes:
    """Several shards as one."""

    def together(select: Callable[[Episodes], np.ndarray]) -> np.ndarray:
        return np.concatenate([select(part) for part in parts])

    return Episodes(
        lengths=together(lambda part: part.lengths),
        observations={
            name: together(lambda part, name=name: part.observations[name]) for name in parts[0].observations
        },
        actions=together(lambda part: part.actions),
        rewards=together(lambda part: part.rewards),
        terminations=together(lambda part: part.terminations),
        truncations=together(lambda part: part.truncations),
        infos={name: together(lambda part, name=name: part.infos[name]) for name in parts[0].infos},
    )


def load_maker(recipe: Recipe):
    """The module that plays the recipe. Imports simulators: for worker processes only."""
    return importlib.import_module(f"..{recipe.maker}", __name__)


def _prepare() -> None:
    os.environ["MUJOCO_GL"] = "disabled"  # before mujoco is imported, which looks for a display otherwise
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker at once and in silence
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A parent that is killed cannot stop its workers, and they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_shard_file(recipe: Recipe, steps: int, seed: int, index: int, file: Path) -> None:
    seeds = np.random.SeedSequence(seed, spawn_key=(index,))
    # Some environments and scripted behaviours draw from NumPy's global generator.
    np.random.seed(seeds.spawn(1)[0].generate_state(4))
    _write_shard(file, load_maker(recipe).make_shard(recipe.options, steps, seeds))


def _write_shard(file: Path, episodes: Episodes) -> None:
    columns: dict[str, Any] = {}
    for field in fields(Episodes):
        value = getattr(episodes, field.name)
        if isinstance(value, np.ndarray):
            columns[field.name] = value
        else:
            columns.update({f"{field.name}/{name}": column for name, column in value.items()})
    aside = file.with_suffix(f".{os.getpid()}.aside")
    with open(aside, "wb") as stream:
        np.savez(stream, **columns)
        stream.flush()
        os.fsync(stream.fileno())
    aside.rename(file)


def _named(columns: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{part}/"): columns[name] for name in columns if name.startswith(f"{part}/")}
