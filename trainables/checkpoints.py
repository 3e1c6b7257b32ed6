"""Checkpoints of one stage in progress: when they are due, which are kept, and what is done about a damaged one."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from .artifacts import Damaged, read_manifest, read_snapshot, write_snapshot, write_text
from .base import Snapshot
from .config import FrozenConfig
from .row_log import FOLDER as ROWS
from .row_log import Chunk, RowLog

BEST = "best.json"


class CheckpointPolicy(FrozenConfig):
    """When a trial's state is stored on the way, and which states are kept. No result depends on it."""

    every_s: float | None = Field(default=60.0, gt=0)
    """Seconds between checkpoints; null for none by time."""
    every_steps: int | None = Field(default=None, gt=0)
    """Updates between checkpoints, also; each at the next look at the outside world, every hundred updates."""
    keep_last: int = Field(default=2, ge=1)
    """Newest checkpoints kept per stage of a trial."""
    keep_best: bool = True
    """Whether the state with the best objective so far is kept too; it is stored when it is evaluated."""
    budget_gib: float | None = Field(default=None, gt=0)
    """GiB for all checkpoints of the sweep; the oldest of ended trials go first. No limit when not given."""


NEVER = CheckpointPolicy(every_s=None, keep_best=False)
"""Nothing is stored on the way."""


class Cadence:
    """Says when the next checkpoint is due.

    Args:
        policy: by time, by updates, or both: whichever comes first.
        step: the update that is stored already.
    """

    def __init__(self, policy: CheckpointPolicy, step: int):
        self.policy = policy
        self.saved(step)

    def due(self, step: int) -> bool:
        """Whether to store the state now."""
        every_s, every_steps = self.policy.every_s, self.policy.every_steps
        by_time = every_s is not None and time.monotonic() - self._at_s > every_s
        return by_time or (every_steps is not None and step // every_steps > self._step // every_steps)

    def saved(self, step: int) -> None:
        """The state at that update is stored, or could not be: the next is due a whole interval later."""
        self._step, self._at_s = step, time.monotonic()


@dataclass(frozen=True)
class PassedOver:
    """A checkpoint that was not what had been written."""

    step: int
    reason: str


class Checkpoints:
    """Snapshots in ``folder/step-NNN``; ``folder/best.json`` names the best of them.

    What a learner only appends to lies in ``folder/rows``, each row once; every snapshot names the files it stands on.

    Args:
        folder: belongs to one stage of one trial.
        keep_last: how many of the newest to keep.
    """

    def __init__(self, folder: Path, keep_last: int = 2):
        self.folder, self.keep_last = folder, keep_last
        self.passed_over: list[PassedOver] = []
        """Damaged ones met by :meth:`latest`; they are out of the way."""
        self._rows = RowLog(folder)

    def save(self, step: int, snapshot: Snapshot) -> Path:
        """Store a snapshot and drop all but the newest and the best.

        Raises:
            OSError: it could not be written; nothing of it is left, and the older ones are still there.
        """
        path = self.folder / f"step-{step:010d}"
        chunks = self._rows.extend(snapshot.log)
        write_snapshot(path, snapshot, {ROWS: [chunk.to_json() for chunk in chunks]} if chunks else None)
        self._prune()
        return path

    def latest(self) -> Snapshot | None:
        """The newest whole snapshot; damaged ones are put out of the way. None when there is none."""
        for path in self._newest_first():
            try:
                return self._whole(path)
            except Damaged as error:
                self.passed_over.append(PassedOver(step_of(path), error.what))
                # Under its own name it would count among the newest. What is aside is collected after a day.
                with suppress(OSError):
                    os.rename(path, path.with_name(f".{path.name}.{uuid.uuid4().hex}.aside"))
        return None

    def mark_best(self, step: int, value: float) -> None:
        """The checkpoint of that step is now the best, with that objective; without room for the note it is not."""
        with suppress(OSError):
            write_text(self.folder / BEST, json.dumps({"step": step, "value": value}))
            self._prune()

    def best_value(self) -> float | None:
        """The objective of the best checkpoint, if there is one."""
        return _best(self.folder).get("value") if best_of(self.folder) else None

    def clear(self) -> None:
        """Remove them all, once their stage is published."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _whole(self, path: Path) -> Snapshot:
        snapshot = read_snapshot(path)
        log = self._rows.read(chunks_of(path))
        return Snapshot(snapshot.tensors, snapshot.meta, log)

    def _prune(self) -> None:
        kept = {*self._newest_first()[: self.keep_last], best_of(self.folder)}
        for old in set(self._newest_first()) - kept:
            shutil.rmtree(old, ignore_errors=True)
        drop_unnamed_rows(self.folder)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)


def best_of(folder: Path) -> Path | None:
    """The best checkpoint of a stage of a trial, if one is marked and still there."""
    step = _best(folder).get("step")
    path = folder / f"step-{step:010d}" if isinstance(step, int) else None
    return path if path and path.is_dir() else None


def chunks_of(path: Path) -> list[Chunk]:
    """The files of rows that a checkpoint stands on.

    Raises:
        Damaged: its manifest cannot be read.
    """
    return [Chunk(**chunk) for chunk in read_manifest(path).get(ROWS, [])]


def drop_unnamed_rows(folder: Path) -> int:
    """Delete the files of rows that no checkpoint of a stage stands on any more; returns their bytes."""
    named: set[str] = set()
    for path in folder.glob("step-*"):
        try:
            named |= {chunk.name for chunk in chunks_of(path)}
        except Damaged:
            return 0  # nobody knows what it stands on
    return RowLog(folder).drop_all_but(named)


def step_of(path: Path) -> int:
    """The update a checkpoint's folder is named after."""
    return int(path.name.removeprefix("step-"))


def _best(folder: Path) -> dict:
    try:
        found = json.loads((folder / BEST).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
