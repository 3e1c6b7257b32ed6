"""The stage store: every stage output once, under the hash of what determines it, shared by all who need it.

Layout under the root, one filesystem (local, or shared by a cluster; it must support ``flock``)::

    v1/ab/abcd...        an artifact (see trainables/artifacts.py), complete from the moment it has this name
    claims/abcd....json  who is computing an artifact; its modification time is the holder's heartbeat
    claims/ab.lock       held for microseconds while a claim changes hands or an artifact gets its name
    aside/               files being written; nobody reads them
    quarantine/          artifacts whose digests were wrong

A claim is an economy, not a safety device: should two processes ever compute one key, because a clock jumped or a
holder was frozen, they publish equal content and the first to publish is kept.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...trainables.artifacts import (
    FORMAT,
    MANIFEST,
    Artifact,
    Damaged,
    Finished,
    Held,
    Provenance,
    put_in_place,
    read_manifest,
    read_snapshot,
    verify,
)
from ...trainables.base import Snapshot
from .base import Leftover, StageClaim, checked_key, delete, size_of, until_free
from .claims import Claims

__all__ = ["StageClaim", "StageStore"]


@dataclass(frozen=True)
class StageStore:
    """Stage outputs by content address. Holds only a path and two durations, so it travels to workers.

    Args:
        root: the store's folder, ``Home.stages`` or one shared by a team.
        heartbeat_s: how often a holder shows that it lives.
        stale_s: silence after which its claim may be taken over; at once when its process is known to be dead.
    """

    root: Path
    heartbeat_s: float = 5.0
    stale_s: float = 30.0

    def path(self, key: str) -> Path:
        """Where the artifact of that key is or would be.

        Raises:
            ValueError: this is not a SHA-256.
        """
        return self.root / f"v{FORMAT}" / checked_key(key)[:2] / key

    @property
    def place(self) -> str:
        """Its folder."""
        return str(self.root)

    def has(self, key: str) -> bool:
        """Whether an output of that key is stored; its content is not checked."""
        return self.path(key).exists()

    def where(self, key: str) -> str:
        """Where the artifact of that key is or would be, for people."""
        return str(self.path(key))

    def acquire(self, key: str, holder: str, wait_s: float = 0.0) -> Finished | StageClaim | Held:
        """The verified artifact, or the claim to compute it, or who is computing it.

        Args:
            key: ``identity_key`` of the stage's identity.
            holder: who asks, as others should see it (a trial id).
            wait_s: how long to wait for another holder before answering ``Held``; 0 never blocks.
        """
        return until_free(lambda: self._acquire(key, holder), wait_s)

    def _acquire(self, key: str, holder: str) -> Finished | StageClaim | Held:
        reason = None
        while True:
            if self.path(key).exists():
                try:
                    return Finished(self._verified(key))
                except Damaged as error:
                    reason = self._quarantine(key, error)
            with self._claims.lock(key):
                if self.path(key).exists():
                    continue  # Published since we looked.
                current = self._claims.read(key)
                if current is not None:
                    lapsed = self._claims.lapsed(key, current)
                    if lapsed is None:
                        return Held(current.holder, current.since)
                    reason = reason or f"taken over from {current.holder}: {lapsed}"
                return StageClaim(self, key, self._claims.write(key, holder), reason)

    def load(self, key: str) -> Snapshot:
        """The stored output, its digests checked.

        Raises:
            KeyError: it is not there.
            Damaged: it is not what was written; it is now in quarantine and the next to ask computes it.
        """
        return read_snapshot(self.fetch(key))

    def fetch(self, key: str) -> Path:
        """A folder with the verified output.

        Raises:
            KeyError, Damaged: as of :meth:`load`.
        """
        if not self.path(key).exists():
            raise KeyError(key)
        try:
            verify(self.path(key))
        except Damaged as error:
            self._quarantine(key, error)
            raise
        return self.path(key)

    def list(self) -> list[Artifact]:
        """Every artifact with its size, its last use and what it cost, oldest first; contents are not checked."""
        found = []
        for path in (self.root / f"v{FORMAT}").glob("??/*"):
            with suppress(Damaged, FileNotFoundError):  # Removed or damaged while we look.
                found.append(_artifact(path))
        return sorted(found, key=lambda artifact: artifact.created)

    def last_used(self, key: str) -> float:
        """Unix seconds of the last use, by the filesystem's time; 0 when it is not there."""
        try:
            return (self.path(key) / MANIFEST).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def held_by(self, key: str) -> str:
        """Who is computing it right now, in words; empty when nobody is."""
        if (record := self._claims.read(key)) is None:
            return ""
        try:
            with self._claims.lock(key):
                lapsed = self._claims.lapsed(key, record)
        except OSError:
            lapsed = None  # We may not look; then it counts as held.
        return "" if lapsed else f"{record.holder} on {record.host}"

    def remove(self, key: str) -> int:
        """Delete an artifact; whoever needs it again computes it again. Returns the bytes freed."""
        with self._aside() as aside:
            with self._claims.lock(key):
                if not self.path(key).exists():
                    return 0
                os.rename(self.path(key), aside)
            return delete(aside)

    def leftovers(self) -> Iterator[Leftover]:
        """What killed writers left aside, and damaged outputs."""
        for folder in ("aside", "quarantine"):
            for path in (self.root / folder).glob("*"):
                with suppress(FileNotFoundError):
                    times = [file.stat().st_mtime for file in [path, *path.rglob("*")]]
                    yield Leftover(str(path), size_of(path), max(times))

    def remove_leftover(self, name: str) -> int:
        """Delete one of :meth:`leftovers`; returns the bytes freed."""
        path = Path(name)
        return delete(path) if path.parent in (self.root / "aside", self.root / "quarantine") else 0

    def remove_leftovers(self, older_than_s: float = 86_400.0) -> int:
        """Delete every leftover nobody has touched for so long; returns the bytes freed."""
        latest = time.time() - older_than_s
        return sum(self.remove_leftover(left.name) for left in [*self.leftovers()] if left.touched < latest)

    def _verified(self, key: str) -> Artifact:
        verify(self.path(key))
        with suppress(OSError):  # The time of last use, for whoever has to choose what to delete.
            os.utime(self.path(key) / MANIFEST)
        return _artifact(self.path(key))

    def _quarantine(self, key: str, error: Damaged) -> str:
        place = self.root / "quarantine" / f"{key}.{uuid.uuid4().hex[:8]}"
        place.parent.mkdir(parents=True, exist_ok=True)
        with self._claims.lock(key):
            # Another process may have moved it and a sound one may already stand here.
            try:
                verify(self.path(key))
            except Damaged:
                with suppress(FileNotFoundError):
                    os.rename(self.path(key), place)
        return f"the stored output was damaged: {error.what}"

    def _publish(self, claim: StageClaim, aside: Path) -> Artifact:
        path = self.path(claim.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._claims.lock(claim.key):
            if not path.exists():
                put_in_place(aside, path)
            self._claims.drop(claim.key, claim.token)
        return _artifact(path)

    def _release(self, claim: StageClaim) -> None:
        with self._claims.lock(claim.key):
            self._claims.drop(claim.key, claim.token)

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        """Room for files being written; what is left there on leaving is deleted."""
        place = self.root / "aside" / uuid.uuid4().hex
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield place
        finally:
            delete(place)

    @property
    def _claims(self) -> Claims:
        return Claims(self.root / "claims", self.stale_s)


def _artifact(path: Path) -> Artifact:
    manifest = read_manifest(path)
    provenance = Provenance(**manifest.get("provenance", {}))
    used = (path / MANIFEST).stat().st_mtime
    return Artifact(path.name, path, provenance, manifest["created"], manifest["bytes"], used, size_of(path))
