"""Checkpoints of one stage in progress: the last few, atomic, verified, with a fall-back to the one before."""

from __future__ import annotations

import shutil
from pathlib import Path

from .artifacts import Damaged, read_snapshot, write_snapshot
from .base import Snapshot

KEPT = 2


class Checkpoints:
    """Snapshots in ``folder/step-NNN``.

    Args:
        folder: belongs to one stage of one trial.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, step: int, snapshot: Snapshot) -> Path:
        """Store a snapshot and drop all but the newest ``KEPT``."""
        path = self.folder / f"step-{step:010d}"
        write_snapshot(path, snapshot)
        for old in self._newest_first()[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return path

    def latest(self) -> Snapshot | None:
        """The newest whole snapshot; broken ones are passed over. None when there is none."""
        for path in self._newest_first():
            try:
                return read_snapshot(path)
            except Damaged:
                continue
        return None

    def clear(self) -> None:
        """Remove them all, once their stage is published."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)
