"""Keeps the checkpoints of a running sweep within their budget, and says what it dropped."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...trainables.checkpoints import ROWS, best_of, drop_unnamed_rows
from ...trainables.events import Checkpointed, Event
from ..journal.events import (
    CheckpointsDropped,
    CheckpointsOverBudget,
    Entry,
    TrialEnded,
    TrialPlaced,
    TrialProposed,
)
from ..journal.state import TrialStatus
from ..store.base import size_of

LOOK_EVERY_S = 5.0
GIB = 2**30


@dataclass(frozen=True)
class Stored:
    """One checkpoint.

    Attributes:
        name: within the folder of trials.
        rank: smaller goes first; None when it must stay.
        written: unix seconds.
    """

    path: Path
    name: str
    trial: str
    bytes: int
    rank: int | None
    written: float


class CheckpointBudget:
    """Shown every entry of a sweep, drops checkpoints when all together exceed the budget.

    First go those of trials that are over: superseded ones, then their best, then their last, the oldest first. Of a
    trial that is not over all but the last go after that. The last of a trial that is not over never goes.

    Args:
        trials: the sweep's folder of trials.
        budget_bytes: for all checkpoints together.
        before: entries of earlier sessions.
        record: puts an event on record.
    """

    def __init__(
        self,
        trials: Path,
        budget_bytes: float,
        before: Iterable[Entry],
        record: Callable[[Event, str | None], Any],
    ):
        self.trials, self.budget_bytes, self._record = trials, budget_bytes, record
        self._over: set[str] = set()
        self._sizes: dict[Path, int] = {}
        self._looked_s, self._told = float("-inf"), False
        for entry in before:
            self._note(entry)

    def take(self, entry: Entry) -> None:
        """Note an event; where a checkpoint was written or a trial has ended, see whether something must go."""
        self._note(entry)
        lately = time.monotonic() - self._looked_s < LOOK_EVERY_S
        if isinstance(entry.event, TrialEnded) or (isinstance(entry.event, Checkpointed) and not lately):
            self.tidy()
            self._looked_s = time.monotonic()

    def tidy(self) -> None:
        """Drop what must go now."""
        stored = list(self._stored())
        total = sum(checkpoint.bytes for checkpoint in stored)
        total += sum(size_of(folder) for folder in self.trials.glob(f"*/*/{ROWS}"))
        going = sorted(
            (checkpoint for checkpoint in stored if checkpoint.rank is not None),
            key=lambda checkpoint: (checkpoint.rank, checkpoint.written),
        )
        dropped: dict[str, list[Stored]] = {}
        for checkpoint in going:
            if total <= self.budget_bytes:
                break
            if _drop(checkpoint.path):
                total -= checkpoint.bytes + drop_unnamed_rows(checkpoint.path.parent)
                dropped.setdefault(checkpoint.trial, []).append(checkpoint)
        for trial, gone in dropped.items():
            size, names = sum(one.bytes for one in gone), [one.name for one in gone]
            self._record(CheckpointsDropped(paths=tuple(names), bytes=size, reason=self._limit), trial)
        if total > self.budget_bytes and not self._told:
            self._told = True
            why = f"{total / GIB:.3g} GiB are the last checkpoints of trials that are not over, and stay"
            self._record(CheckpointsOverBudget(bytes=total, reason=f"{self._limit}: {why}"), None)

    @property
    def _limit(self) -> str:
        return f"checkpoints.budget_gib is {self.budget_bytes / GIB:g}"

    def _note(self, entry: Entry) -> None:
        if entry.trial is None:
            return
        match entry.event:
            case TrialPlaced() | TrialProposed():
                self._over.discard(entry.trial)
            case TrialEnded(status=status) if TrialStatus(status).is_final:
                self._over.add(entry.trial)

    def _stored(self) -> Iterator[Stored]:
        sizes = {}
        for folder in sorted({path.parent for path in self.trials.glob("*/*/step-*")}):
            trial, best, steps = folder.parent.name, best_of(folder), sorted(folder.glob("step-*"))
            for path in steps:
                with suppress(FileNotFoundError):
                    sizes[path] = self._sizes.get(path) or size_of(path)
                    last = path == steps[-1]
                    if trial in self._over:
                        rank = 2 if last else 1 if path == best else 0
                    else:
                        rank = None if last else 3
                    name = str(path.relative_to(self.trials))
                    yield Stored(path, name, trial, sizes[path], rank, path.stat().st_mtime)
        self._sizes = sizes


def within_budget(
    budget_gib: float | None,
    trials: Path,
    before: Iterable[Entry],
    append: Callable[[Event, str | None], Entry],
    watch: Callable[[Entry], None],
) -> Callable[[Entry], None]:
    """Return what is to be shown every entry instead of ``watch``, so that the budget is kept; ``watch`` where there is none."""
    if budget_gib is None:
        return watch
    budget = CheckpointBudget(
        trials, budget_gib * GIB, before, lambda event, trial: watch(append(event, trial))
    )

    def take(entry: Entry) -> None:
        watch(entry)
        budget.take(entry)

    return take


def _drop(path: Path) -> bool:
    # Under another name first, so that a half-deleted checkpoint is never found under its own.
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.aside")
    try:
        os.rename(path, aside)
    except OSError:
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True
