"""Making offline datasets on this machine, as Minari datasets, from installed packages alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock

from ...errors import UserError
from ...home import home
from ..metadata import read_metadata
from ..names import minari_data_path, parse_name
from .minari_file import write_minari
from .recipe import Recipe
from .registry import RECIPES, find_recipe
from .shards import Progress, join, load_maker, make_shards, read_shard, worker_pool

__all__ = ["RECIPES", "Recipe", "dataset_id", "ensure_dataset", "find_recipe", "make_dataset", "recipe_for"]

NAMESPACE = "flowsweep"


def dataset_id(recipe: Recipe, steps: int | None = None, seed: int = 0) -> str:
    """The Minari id a recipe's dataset gets: size and seed are named where they are not the default.

    ``flowsweep/pointmaze-umaze-v0``, ``flowsweep/pointmaze-umaze-20k-v0``, ``flowsweep/pointmaze-umaze-20k-seed3-v0``.
    """
    size = "" if steps in (None, recipe.default_steps) else f"-{_short(steps)}"
    return f"{NAMESPACE}/{recipe.name}{size}{f'-seed{seed}' if seed else ''}-v0"


def recipe_for(minari_id: str) -> tuple[Recipe, int, int] | None:
    """Recipe, steps and seed that :func:`dataset_id` gives this id to, or None."""
    match = re.fullmatch(rf"{NAMESPACE}/(.+?)(?:-(\d+[km]?))?(?:-seed(\d+))?-v0", minari_id)
    if not match or match[1] not in RECIPES:
        return None
    recipe = RECIPES[match[1]]
    steps, seed = _long(match[2]) if match[2] else recipe.default_steps, int(match[3] or 0)
    return (recipe, steps, seed) if dataset_id(recipe, steps, seed) == minari_id else None


def ensure_dataset(name: str, *, workers: int | None = None, progress: Progress | None = None) -> bool:
    """Make the dataset of that name if it is not here and a recipe makes it.

    Two machines that do so hold the same data, hence the same fingerprint.

    Args:
        name: as for :func:`~..flat.open_dataset`; a task suffix makes no difference.

    Returns:
        Whether it was made now.
    """
    minari_id = parse_name(name).minari_id
    made = recipe_for(minari_id)
    if made is None or (minari_data_path(minari_id) / "metadata.json").exists():
        return False
    recipe, steps, seed = made
    make_dataset(recipe.name, steps=steps, seed=seed, workers=workers, progress=progress)
    return True


def make_dataset(
    recipe: str,
    *,
    steps: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    force: bool = False,
    name: str | None = None,
) -> str:
    """Make a dataset, or find it made. The result depends on recipe, steps and seed, never on the worker count.

    Killed and called again, it goes on from the shards that were finished.

    Args:
        recipe: a name from :data:`RECIPES`.
        steps: environment steps; the recipe's default when None.
        seed: of everything random in it.
        workers: processes; one per core when None.
        progress: called with steps done and steps in all.
        force: make it anew and replace what has the id.
        name: Minari id to use instead of the one :func:`dataset_id` derives.

    Returns:
        The Minari id.

    Raises:
        UserError: unknown recipe, impossible size, or the name is taken by another dataset.
    """
    chosen = find_recipe(recipe)
    steps = _checked_steps(chosen, chosen.default_steps if steps is None else steps)
    if workers is not None and workers < 1:
        raise UserError("must be at least 1", key="workers", value=workers)
    if seed < 0:
        raise UserError("must not be negative", key="seed", value=seed)
    target = parse_name(name, key="name").minari_id if name else dataset_id(chosen, steps, seed)
    provenance = _provenance(chosen, steps, seed)
    work = _work_folder(provenance, target)
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work.with_suffix(".lock")):
        if not force and minari_data_path(target).exists():
            _check_same(target, provenance)
        else:
            _make(
                chosen, steps, seed, workers or os.cpu_count() or 1, work, progress, target, provenance, force
            )
        shutil.rmtree(work, ignore_errors=True)
    return target


def _make(
    recipe: Recipe,
    steps: int,
    seed: int,
    workers: int,
    work: Path,
    progress: Progress | None,
    target: str,
    provenance: dict[str, Any],
    replace: bool,
) -> None:
    shards = -(-steps // recipe.shard_steps)
    try:
        with worker_pool(min(workers, shards)) as pool:
            files = make_shards(pool, recipe, steps, seed, work, progress or (lambda done, total: None))
            # In a worker too: it has the simulators loaded, and Minari is told its root through the environment.
            pool.submit(_assemble, recipe, files, target, provenance, replace).result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process ended abruptly while the dataset was made, perhaps for want of memory",
            key="workers",
            value=workers,
            fix="Run the command again with fewer workers; finished pieces are kept.",
        ) from error


def _assemble(
    recipe: Recipe, files: list[Path], target: str, provenance: dict[str, Any], replace: bool
) -> None:
    parts = [read_shard(file) for file in files]
    whole = join([part for part in parts if part is not None])
    if len(whole.rewards) != provenance["steps"]:
        raise RuntimeError(f"the shards hold {len(whole.rewards)} steps instead of {provenance['steps']}")
    whole, description = load_maker(recipe).finish(recipe.options, whole)
    facts = {**provenance, "made_by": f"trainables.data.makers.{recipe.maker}"}
    write_minari(target, whole, description, facts, replace)


def _provenance(recipe: Recipe, steps: int, seed: int) -> dict[str, Any]:
    packages = ("mujoco", "gymnasium", "gymnasium-robotics", "ogbench", "numpy")
    return {
        "recipe": recipe.name,
        "recipe_version": recipe.version,
        "family": recipe.family,
        "options": dict(recipe.options),
        "steps": steps,
        "seed": seed,
        "shard_steps": recipe.shard_steps,
        "versions": {package: found for package in packages if (found := _version(package))},
    }


def _version(package: str) -> str | None:
    """Of an installed package; OGBench is an extra."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _work_folder(provenance: dict[str, Any], target: str) -> Path:
    # Shards of other versions or for another place are never mixed in.
    digest = hashlib.sha256(json.dumps([provenance, target], sort_keys=True).encode()).hexdigest()
    return home() / "datasets" / ".making" / digest[:16]


def _check_same(target: str, provenance: dict[str, Any]) -> None:
    present = read_metadata(minari_data_path(target), target).provenance
    if any(present.get(key) != provenance[key] for key in ("recipe", "steps", "seed", "recipe_version")):
        raise UserError(
            "another dataset has this name",
            key="name",
            value=target,
            fix="Choose another `--name`, or replace it with `--force`.",
        )


def _checked_steps(recipe: Recipe, steps: int) -> int:
    if steps < 1:
        raise UserError("must be at least 1", key="steps", value=steps)
    if recipe.episode_steps and steps % recipe.episode_steps:
        raise UserError(
            f"must be a multiple of {recipe.episode_steps}, the length of every episode of `{recipe.name}`",
            key="steps",
            value=steps,
        )
    return steps


def _short(steps: int | None) -> str:
    assert steps is not None
    for unit, factor in (("m", 1_000_000), ("k", 1_000)):
        if steps % factor == 0:
            return f"{steps // factor}{unit}"
    return str(steps)


def _long(text: str) -> int:
    factors = {"k": 1_000, "m": 1_000_000}
    return int(text[:-1]) * factors[text[-1]] if text[-1] in factors else int(text)
