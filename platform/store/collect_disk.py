"""What lies on disk that could go, and deleting what the rule says: the hands of `flowsweep gc`."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...trainables.artifacts import Damaged, verify
from ...trainables.checkpoints import best_of, drop_unnamed_rows
from ..journal.journal import writer_of
from ..paths import Home
from .base import Leftover, Stages, size_of
from .collect import DAY_S, HOUR_S, Decision, Item, Limits
from .object_files import in_words, is_object_address
from .opening import is_shared, open_store
from .stage_use import StoredStage, SweepUse, stored_stages, sweep_uses

ASIDE_RULE = re.compile(r"\..+\.[0-9a-f]{32}\.aside(\.old)?")
"""How atomic writers name what is not finished yet, beside where it shall stand."""
SHARED_GRACE_S = 30 * DAY_S
"""In a store outside the home, others use outputs that no journal here names."""


@dataclass(frozen=True)
class Collected:
    """What came of one decision to drop: the bytes freed, or why it is still there."""

    decision: Decision
    freed_bytes: int
    problem: str = ""


def limits_for(
    home: Home, budget_bytes: int | None, older_than_s: float | None, store: Stages | None = None
) -> Limits:
    """The limits a person asked for, more careful where the stage store is shared with other homes."""
    shared = is_shared(store or open_store(home), home)
    grace_s = SHARED_GRACE_S if shared and older_than_s is None else HOUR_S
    return Limits(budget_bytes, older_than_s, grace_s)


def survey(home: Home, store: Stages | None = None) -> list[Item]:
    """Everything that could go, and what is needed of it. Changes nothing.

    Not counted: policies, pictures, requests, journals, tables and datasets, none of which is ever deleted.

    Args:
        store: another stage store than this home's.
    """
    uses, now, store = sweep_uses(home), time.time(), store or open_store(home)
    items = [_artifact(stage, store, now) for stage in stored_stages(store, uses)]
    items += [_store_leftover(left, home, now) for left in store.leftovers()]
    items += [_leftover(path, home, now) for path in home.sweeps.glob(".*.aside")]
    for use in uses:
        items += [_leftover(path, home, now) for path in _sweep_leftovers(use)]
        items += _checkpoints(use, home, now)
    return items


def carry_out(
    decisions: Iterable[Decision],
    home: Home,
    limits: Limits,
    watch: Callable[[Collected], None],
    store: Stages | None = None,
) -> list[Collected]:
    """Delete what the rule drops, each looked at once more; what cannot be deleted is said, not raised."""
    store, done = store or open_store(home), []
    for decision in decisions:
        if decision.action == "drop":
            try:
                collected = Collected(decision, *_delete(decision.item, store, home, limits))
            except OSError as error:
                collected = Collected(decision, 0, error.strerror or in_words(error))
            watch(collected)
            done.append(collected)
    return done


def _delete(item: Item, store: Stages, home: Home, limits: Limits) -> tuple[int, str]:
    """Bytes freed, and why not."""
    if item.kind == "artifact":
        if time.time() - store.last_used(item.name) < limits.idle_s:
            return 0, "somebody has used it since"
        return store.remove(item.name), ""
    path = home.root / item.name
    if freed := store.remove_leftover(item.name if is_object_address(item.name) else str(path)):
        return freed, ""
    if item.kind == "checkpoint" and (unsound := _unsound_successor(path)):
        return 0, unsound
    size = size_of(path)
    if path.is_dir():
        # Under another name first, so that a half-deleted checkpoint is never found under its own.
        aside = path.with_name(f".{path.name.lstrip('.')}.{uuid.uuid4().hex}.aside")
        os.rename(path, aside)
        shutil.rmtree(aside)
        if item.kind == "checkpoint":
            size += drop_unnamed_rows(path.parent)
    else:
        path.unlink(missing_ok=True)
    return size, ""


def _unsound_successor(path: Path) -> str:
    """Why the last checkpoint cannot stand in for this one."""
    last = _steps(path.parent)[-1]
    try:
        verify(last)
    except Damaged as error:
        return f"the last one, {last.name}, is damaged: {error.what}"
    return ""


def _artifact(stage: StoredStage, store: Stages, now: float) -> Item:
    seed = "" if stage.seed is None else f" seed {stage.seed}"
    return Item(
        kind="artifact",
        name=stage.key,
        what=f"{stage.stage}{seed} {stage.key[:12]}",
        bytes=stage.bytes,
        idle_s=now - stage.last_used,
        needed=_needed_by(stage) or (f"claimed by {held}" if (held := store.held_by(stage.key)) else ""),
        cpu_s=stage.cpu_s,
        upstream=stage.upstream,
    )


def _needed_by(stage: StoredStage) -> str:
    names = [f"{name} ({status})" for name, status in stage.alive_users]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"needed by {', '.join(names[:2])}{more}" if names else ""


def _sweep_leftovers(use: SweepUse) -> Iterator[Path]:
    """Unfinished files, folders of killed reruns, and Tune's own notes once nobody runs the sweep."""
    whole = list(use.paths.root.glob("rerun-*"))
    if use.paths.ray.exists() and writer_of(use.paths.journal) is None:
        whole.append(use.paths.ray)
    yield from whole
    for path in use.paths.root.rglob(".*.aside*"):
        if ASIDE_RULE.fullmatch(path.name) and not any(path.is_relative_to(folder) for folder in whole):
            yield path


def _store_leftover(left: Leftover, home: Home, now: float) -> Item:
    name = left.name if is_object_address(left.name) else _name(Path(left.name), home)
    return Item(left.kind, name, name, left.bytes, now - left.touched)


def _leftover(path: Path, home: Home, now: float) -> Item:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    idle_s = min((_idle_s(file, now) for file in files), default=0.0)
    name = _name(path, home)
    return Item("leftover", name, name, size_of(path), idle_s)


def _checkpoints(use: SweepUse, home: Home, now: float) -> Iterator[Item]:
    for folder in sorted({path.parent for path in use.paths.trials.glob("*/*/step-*")}):
        trial, steps, best = folder.parent.name, _steps(folder), best_of(folder)
        for path in steps:
            needed = "" if trial in use.over else f"its trial is not over ({use.status} sweep)"
            if path == steps[-1]:
                needed = needed or "the last one of its stage: the trial can be taken further"
            if path == best:
                needed = needed or "the best one of its stage"
            name = _name(path, home)
            yield Item("checkpoint", name, name, size_of(path), _idle_s(path, now), needed)


def _steps(folder: Path) -> list[Path]:
    """Checkpoints of one stage of one trial, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def _name(path: Path, home: Home) -> str:
    return str(path.relative_to(home.root) if path.is_relative_to(home.root) else path)


def _idle_s(path: Path, now: float) -> float:
    try:
        return now - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
