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
import re
import shutil
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..trainables.artifacts import (
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
    write_files,
)
from ..trainables.base import Snapshot
from .claims import Claims

KEY_RULE = re.compile(r"[0-9a-f]{64}")


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
        if not KEY_RULE.fullmatch(key):
            raise ValueError(f"not a stage key: {key!r}")
        return self.root / f"v{FORMAT}" / key[:2] / key

    def acquire(self, key: str, holder: str, wait_s: float = 0.0) -> Finished | StageClaim | Held:
        """The verified artifact, or the claim to compute it, or who is computing it.

        Args:
            key: ``identity_key`` of the stage's identity.
            holder: who asks, as others should see it (a trial id).
            wait_s: how long to wait for another holder before answering ``Held``; 0 never blocks.
        """
        deadline, pause_s = time.monotonic() + wait_s, 0.05
        while True:
            answer = self._acquire(key, holder)
            left_s = deadline - time.monotonic()
            if not isinstance(answer, Held) or left_s <= 0:
                return answer
            time.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, 1.0)

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
        if not self.path(key).exists():
            raise KeyError(key)
        try:
            return read_snapshot(self.path(key))
        except Damaged as error:
            self._quarantine(key, error)
            raise

    def list(self) -> list[Artifact]:
        """Every artifact with its size and what it cost, oldest first; contents are not checked."""
        found = []
        for path in (self.root / f"v{FORMAT}").glob("??/*"):
            with suppress(Damaged):  # Removed or damaged while we look.
                found.append(_artifact(path))
        return sorted(found, key=lambda artifact: artifact.created)

    def remove(self, key: str) -> int:
        """Delete an artifact; whoever needs it again computes it again. Returns the bytes freed."""
        aside = self._aside()
        with self._claims.lock(key):
            if not self.path(key).exists():
                return 0
            os.rename(self.path(key), aside)
        return _delete(aside)

    def remove_leftovers(self, older_than_s: float = 86_400.0) -> int:
        """Delete what killed writers left aside, and old quarantine. Returns the bytes freed."""
        latest = time.time() - older_than_s
        places = [*(self.root / "aside").glob("*"), *(self.root / "quarantine").glob("*")]
        return sum(_delete(place) for place in places if place.stat().st_mtime < latest)

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
            if path.exists():
                shutil.rmtree(aside)
            else:
                put_in_place(aside, path)
            self._claims.drop(claim.key, claim.token)
        return _artifact(path)

    def _release(self, claim: StageClaim) -> None:
        with self._claims.lock(claim.key):
            self._claims.drop(claim.key, claim.token)

    def _aside(self) -> Path:
        place = self.root / "aside" / uuid.uuid4().hex
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    @property
    def _claims(self) -> Claims:
        return Claims(self.root / "claims", self.stale_s)


class StageClaim:
    """The right to compute one artifact, kept alive by a heartbeat until published or released."""

    def __init__(self, store: StageStore, key: str, token: str, reason: str | None):
        self.store, self.key, self.token, self.reason = store, key, token, reason
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"claim-{key[:8]}", daemon=True)
        self._heart.start()

    def publish(self, snapshot: Snapshot, provenance: Provenance) -> Artifact:
        """Store the output for everyone and end the claim; an equal output published meanwhile is kept instead."""
        aside = self.store._aside()
        try:
            write_files(aside, snapshot, {"key": self.key, "provenance": asdict(provenance)})
            artifact = self.store._publish(self, aside)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        self._stop()
        return artifact

    def release(self) -> None:
        """Give the claim back; does nothing once it has ended."""
        if not self._ended.is_set():
            self._stop()
            self.store._release(self)

    def __enter__(self) -> StageClaim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _stop(self) -> None:
        self._ended.set()
        self._heart.join()

    def _beat(self) -> None:
        # A claim taken over is no longer ours to keep alive. Publishing still works: equal content, the first is kept.
        while not self._ended.wait(self.store.heartbeat_s):
            if not self.store._claims.beat(self.key, self.token):
                return


def _artifact(path: Path) -> Artifact:
    manifest = read_manifest(path)
    provenance = Provenance(**manifest.get("provenance", {}))
    return Artifact(path.name, path, provenance, manifest["created"], manifest["bytes"])


def _delete(place: Path) -> int:
    if place.is_dir():
        size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        shutil.rmtree(place, ignore_errors=True)
    else:
        size = place.stat().st_size
        place.unlink(missing_ok=True)
    return size
