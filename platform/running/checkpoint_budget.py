"""Keeps the checkpoints of a running sweep within their budget, and says what it dropped."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...trainables.checkpoints import ROWS, best_of, drop_unnamed_rows
from ..record.journal import Fact
from ..store.base import size_of
from ..store.stage_use import OVER

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
    """Shown every fact of a sweep, drops checkpoints when all together exceed the budget.

    First go those of trials that are over: superseded ones, then their best, then their last, the oldest first. Of a
    trial that is not over all but the last go after that. The last of a trial that is not over never goes.

    Args:
        trials: the sweep's folder of trials.
        budget_bytes: for all checkpoints together.
        before: facts of earlier sessions.
        record: puts a fact on record.
    """

    def __init__(
        self,
        trials: Path,
        budget_bytes: float,
        before: Iterable[Fact],
        record: Callable[[str, str | None, Mapping[str, Any]], None],
    ):
        self.trials, self.budget_bytes, self._record = trials, budget_bytes, record
        self._over: set[str] = set()
        self._sizes: dict[Path, int] = {}
        self._looked_s, self._told = float("-inf"), False
        for fact in before:
            self._note(fact)

    def take(self, fact: Fact) -> None:
        """Note a fact; where a checkpoint was written or a trial has ended, see whether something must go."""
        self._note(fact)
        lately = time.monotonic() - self._looked_s < LOOK_EVERY_S
        if fact.kind == "trial_ended" or (fact.kind == "checkpoint" and not lately):
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
            self._record("checkpoints_dropped", trial, {"paths": names, "bytes": size, "reason": self._limit})
        if total > self.budget_bytes and not self._told:
            self._told = True
            said = f"{total / GIB:.3g} GiB are the last checkpoints of trials that are not over, and stay"
            self._record(
                "checkpoints_over_budget", None, {"bytes": total, "reason": f"{self._limit}: {said}"}
            )

    @property
    def _limit(self) -> str:
        return f"checkpoints.budget_gib is {self.budget_bytes / GIB:g}"

    def _note(self, fact: Fact) -> None:
        if fact.trial and fact.kind in ("trial_placed", "trial_proposed"):
            self._over.discard(fact.trial)
        elif fact.trial and fact.kind == "trial_ended" and fact.data["status"] in OVER:
            self._over.add(fact.trial)

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
    budget_gib: float | None, trials: Path, before: Iterable[Fact], append: Callable[..., Fact],
    watch: Callable[[Fact], None],
) -> Callable[[Fact], None]:  # fmt: skip
    """What is to be shown every fact instead of ``watch``, so that the budget is kept; ``watch`` where there is none."""
    if budget_gib is None:
        return watch
    budget = CheckpointBudget(
        trials, budget_gib * GIB, before, lambda kind, trial, data: watch(append(kind, trial, **data))
    )

    def take(fact: Fact) -> None:
        watch(fact)
        budget.take(fact)

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
