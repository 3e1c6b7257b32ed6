"""What the folder and the object store forms of the stage store have in common."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from ...trainables.artifacts import Artifact, ArtifactStore, Held, Provenance, write_files
from ...trainables.base import Snapshot

T = TypeVar("T")
KEY_RULE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Leftover:
    """Something in a store that nobody reads.

    Attributes:
        name: unique; what to give to ``remove_leftover``.
        touched: unix seconds of its last change or use.
        kind: a ``copy`` on this machine of what lies in an object store may go at any time.
    """

    name: str
    bytes: int
    touched: float
    kind: Literal["leftover", "copy"] = "leftover"


class Stages(ArtifactStore, Protocol):
    """A stage store as commands see it."""

    @property
    def place(self) -> str:
        """Folder or address."""
        ...

    def has(self, key: str) -> bool:
        """Whether an output of that key is stored; its content is not checked."""
        ...

    def fetch(self, key: str) -> Path:
        """A folder of this machine with the verified output; KeyError or Damaged where there is none."""
        ...

    def where(self, key: str) -> str:
        """Where the artifact of that key is or would be, for people."""
        ...

    def list(self) -> list[Artifact]:
        """Every artifact with its size, its last use and what it cost, oldest first; contents are not checked."""
        ...

    def last_used(self, key: str) -> float:
        """Unix seconds of the last use; 0 when it is not there."""
        ...

    def held_by(self, key: str) -> str:
        """Who is computing it right now, in words; empty when nobody is."""
        ...

    def remove(self, key: str) -> int:
        """Delete an artifact; whoever needs it again computes it again. Returns the bytes freed."""
        ...

    def leftovers(self) -> Iterable[Leftover]:
        """What killed writers, damage and the dead left behind."""
        ...

    def remove_leftover(self, name: str) -> int:
        """Delete one of :meth:`leftovers`; returns the bytes freed."""
        ...


class Claims(Protocol):
    """Where a claim is kept alive."""

    def beat(self, key: str, token: str) -> bool:
        """Show that the holder lives; False when the claim has gone to another."""
        ...


class Publisher(Protocol):
    """What a claim needs of its store."""

    @property
    def heartbeat_s(self) -> float: ...

    @property
    def _claims(self) -> Claims: ...

    def _aside(self) -> AbstractContextManager[Path]: ...

    def _publish(self, claim: StageClaim, aside: Path) -> Artifact: ...

    def _release(self, claim: StageClaim) -> None: ...


class StageClaim:
    """The right to compute one artifact, kept alive by a heartbeat until published or released."""

    def __init__(self, store: Publisher, key: str, token: str, reason: str | None):
        self.store, self.key, self.token, self.reason = store, key, token, reason
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"claim-{key[:8]}", daemon=True)
        self._heart.start()

    def publish(self, snapshot: Snapshot, provenance: Provenance) -> Artifact:
        """Store the output for everyone and end the claim; an equal output published meanwhile is kept instead."""
        with self.store._aside() as aside:
            write_files(aside, snapshot, {"key": self.key, "provenance": asdict(provenance)})
            artifact = self.store._publish(self, aside)
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


def checked_key(key: str) -> str:
    """A key fit to become part of a path.

    Raises:
        ValueError: this is not a SHA-256.
    """
    if not KEY_RULE.fullmatch(key):
        raise ValueError(f"not a stage key: {key!r}")
    return key


def until_free(ask: Callable[[], T | Held], wait_s: float) -> T | Held:
    """Ask until the answer is not ``Held``, for so long at most."""
    deadline, pause_s = time.monotonic() + wait_s, 0.05
    while True:
        answer = ask()
        left_s = deadline - time.monotonic()
        if not isinstance(answer, Held) or left_s <= 0:
            return answer
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, 1.0)


def delete(place: Path) -> int:
    """Delete a file or folder; returns the bytes it had."""
    size = size_of(place)
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
    return size


def size_of(place: Path) -> int:
    """Bytes of a file, or of all files in a folder; what vanishes while we look counts nothing."""
    size = 0
    for file in [place, *place.rglob("*")]:
        try:
            size += 0 if file.is_dir() else file.lstat().st_size
        except FileNotFoundError:
            continue
    return size
