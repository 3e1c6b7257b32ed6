"""Claims: who is computing which artifact, given to one process at a time and taken from the dead."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil


@dataclass(frozen=True)
class ClaimRecord:
    """What a claim file says. ``token`` is new for every claim, so an owner recognises its own."""

    token: str
    holder: str
    host: str
    machine: str
    pid: int
    since: float


@dataclass(frozen=True)
class Claims:
    """The claim files of a store.

    Args:
        folder: where they lie; its filesystem must support ``flock``.
        stale_s: silence after which a claim has lapsed.
    """

    folder: Path
    stale_s: float

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """One of 256 locks; the system lets go of it when its holder dies. Lock files stay, so they are not raced."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.folder / f"{key[:2]}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def read(self, key: str) -> ClaimRecord | None:
        """The claim on a key, if any."""
        try:
            return ClaimRecord(**json.loads(self._file(key).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # Claims are replaced whole, so an unreadable one is as good as none.

    def write(self, key: str, holder: str) -> str:
        """Claim a key for this process, whoever had it before; the caller holds the lock. Returns the token."""
        record = ClaimRecord(
            token=uuid.uuid4().hex,
            holder=holder,
            host=socket.gethostname(),
            machine=machine(),
            pid=os.getpid(),
            since=time.time(),
        )
        aside = self.folder / f".{record.token}"
        aside.write_text(json.dumps(asdict(record)))
        os.replace(aside, self._file(key))
        return record.token

    def drop(self, key: str, token: str) -> None:
        """End a claim if it is still that one; the caller holds the lock."""
        record = self.read(key)
        if record is not None and record.token == token:
            self._file(key).unlink()

    def beat(self, key: str, token: str) -> bool:
        """Show that the holder lives; False when the claim has gone to another."""
        record = self.read(key)
        if record is None or record.token != token:
            return False
        with suppress(OSError):
            os.utime(self._file(key))
        return True

    def lapsed(self, key: str, record: ClaimRecord) -> str | None:
        """Why a claim may be taken over, or None while it may not; the caller holds the lock."""
        if record.machine == machine() and is_dead(record.pid):
            return f"its process {record.pid} has ended"
        # Both times come from the filesystem, so clocks of different machines are never compared.
        probe = self.folder / f".{uuid.uuid4().hex}"
        probe.touch()
        beaten = self._file(key).stat().st_mtime
        silent_s = probe.stat().st_mtime - beaten
        probe.unlink()
        if (
            silent_s < 0
        ):  # The clock was set back since. Whether another beat comes is then only seen by waiting.
            silent_s = _watched_s(self._file(key), beaten)
        return f"silent on {record.host} for {silent_s:.0f} s" if silent_s > self.stale_s else None

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"


_WATCHED: dict[Path, tuple[float, float]] = {}
"""Claims beaten in the future: the time of the beat, and since when (monotonic) this process has seen no other."""


def _watched_s(file: Path, beaten: float) -> float:
    known, since_s = _WATCHED.get(file, (None, 0.0))
    if known != beaten:
        _WATCHED[file] = (beaten, since_s := time.monotonic())
    return time.monotonic() - since_s


@cache
def machine() -> str:
    """Where process numbers mean the same: the host since its last start, and the container."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            os.readlink("/proc/self/ns/pid"),
        ]
    return "/".join(parts)


def is_dead(pid: int) -> bool:
    """Whether a process of this machine has ended."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
