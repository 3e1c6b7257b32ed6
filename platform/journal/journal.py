"""The append-only record of a sweep: one JSON line per event, written before anything else happens with it.

A line is ``{"seq": 7, "time": 1760000000.0, "trial": "t3", "event": {"kind": "trial_stopped", ...}}``; the events are in
:mod:`.events`. Non-finite numbers are kept (see :mod:`flowsweep.trainables.lossless_json`).

A line without its newline was never finished and does not count: reading
A line without its newline was never finished and does not count: reading
drops it, opening removes it. A damaged line anywhere else, a gap and a repeat are refused with their place, never skipped, because whoever
resumes from a record with a hole in it would repeat or lose work without knowing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from ...trainables.events import Event, StageComputed
from ...trainables.lossless_json import MARK, dumps, loads
from ...trainables.redaction import Redactor
from ..errors import Refused, UserError
from .events import Entry, Recovered, SweepEnded, SweepResumed, SweepStarted, TrialEnded

DURABLE = (SweepStarted, SweepResumed, SweepEnded, TrialEnded, StageComputed)
"""Events forced to the disk at once; with them goes every line before. The rest survives a killed process, but
not a machine that loses power within the next seconds."""


MEND = "Put back a good copy of the file; or delete the sweep (`flowsweep delete`) and run it anew."


class Journal:
    """The one writer of a sweep's record. Safe to call from several threads.

    Args:
        path: the journal's file; its folder is made when missing.

    Raises:
        Refused: another process is writing this journal.
        UserError: the last finished line is damaged, or the file cannot be made, locked or written.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        with _told(self.path, "made"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._thread_lock = threading.Lock()
        self._redactor = Redactor()
        self._process_lock = _lock(self.path)
        try:
            with _told(self.path, "opened"):
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                dropped_bytes = _drop_torn_line(self._fd)
                self._next_seq = _last_seq(self._fd, self.path) + 1
                if self._next_seq == 0:
                    _force_entries(self.path)
        except BaseException:
            os.close(self._process_lock)
            raise
        self.recovered: Entry | None = None
        """Set when opening had to remove a torn last line."""
        if dropped_bytes:
            self.recovered = self.append(Recovered(dropped_bytes=dropped_bytes))

    def append(self, event: Event, trial: str | None = None) -> Entry:
        """Write one event, secrets taken out, and return its entry; when this returns, a killed process no longer loses it.

        Raises:
            UserError: the disk is full or the file cannot be written; the record then ends before this event.
        """
        with self._thread_lock:
            entry = Entry.model_construct(seq=self._next_seq, time=time.time(), trial=trial, event=event)
            line = as_line(entry)
            if self._redactor.text(line) != line:  # a line in which something was replaced need not be JSON
                values = self._redactor.value(event.to_json())
                entry = entry.model_copy(update={"event": type(event).model_validate(values)})
                line = as_line(entry)
            self._write(line.encode() + b"\n")
            self._next_seq += 1
            if isinstance(event, DURABLE):
                self._force()
            return entry

    def _write(self, line: bytes) -> None:
        size = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, line)
            # A disk that fills up may take part of the line first; the rest then fails by itself.
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError as error:
            os.ftruncate(self._fd, size)
            raise UserError(
                f"the record of the sweep cannot be written: {error.strerror}",
                key=str(self.path),
                fix="Free some disk space, then resume the sweep; nothing recorded before is lost.",
            ) from error

    def _force(self) -> None:
        with _told(self.path, "forced to the disk"):
            os.fsync(self._fd)

    def close(self) -> None:
        """Force everything to the disk and let another writer in."""
        with self._thread_lock:
            if self._fd < 0:
                return
            try:
                self._force()
            finally:
                os.close(self._fd)
                os.close(self._process_lock)
                self._fd = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: Path, after_seq: int = -1) -> Iterator[Entry]:
    """Yield the entries of a journal in order, also while it is being written.

    Args:
        path: the journal's file.
        after_seq: leave out entries up to and including this one.

    Raises:
        UserError: there is no such journal, or a line other than a torn last one is damaged.
    """
    if not Path(path).exists():
        raise UserError(
            "there is no record here", key=str(path), fix="Run the sweep first, or check its name."
        )
    before = -1
    with _told(path, "read"), open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            entry = _parse(line, path, f"line {number}")
            before = _next(before, entry.seq, path, f"line {number}")
            if entry.seq > after_seq:
                yield entry


def tail(path: Path, offset: int, limit_bytes: int = 1 << 20) -> tuple[list[Entry], int]:
    """Return the finished entries from a byte offset on, for a reader that keeps its position.

    Args:
        path: the journal's file; one that does not exist yet has no entries.
        offset: 0, or what an earlier call returned.
        limit_bytes: read about this much; a longer line is read whole.

    Returns the entries, and the offset to continue from (unchanged when nothing was added).

    Raises:
        UserError: a line is damaged, or the file is shorter than the offset.
    """
    if not Path(path).exists():
        return [], offset
    with _told(path, "read"), open(path, "rb") as journal:
        if os.fstat(journal.fileno()).st_size < offset:
            raise UserError(
                f"the record is shorter than what was already read from it ({offset} bytes)",
                key=str(path),
                fix="It was replaced or cut; put the original back.",
            )
        journal.seek(offset)
        chunk = journal.read(limit_bytes)
        if b"\n" not in chunk:
            chunk += journal.readline()
    end = chunk.rfind(b"\n") + 1
    entries, position = [], offset
    for line in chunk[:end].splitlines(keepends=True):
        entries.append(_parse(line, path, f"byte {position}"))
        if len(entries) > 1 or not position:
            _next(entries[-2].seq if len(entries) > 1 else -1, entries[-1].seq, path, f"byte {position}")
        position += len(line)
    return entries, position


def writer_of(path: Path) -> str | None:
    """Who is writing a journal right now, in words; None when nobody is."""
    try:
        lock = os.open(_lock_file(path), os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.pread(lock, 200, 0).decode(errors="replace").strip() or "another process"
    finally:
        os.close(lock)


def as_line(entry: Entry) -> str:
    """Return an entry as it is written, without the newline."""
    return dumps({"seq": entry.seq, "time": entry.time, "trial": entry.trial, "event": entry.event.to_json()})


def from_line(line: str | bytes) -> Entry:
    """Return the entry that :func:`as_line` wrote.

    Raises:
        ValueError: it is none.
    """
    text = line.decode() if isinstance(line, bytes) else line
    if MARK in text:  # a number that JSON has no word for
        return Entry.model_validate(loads(text), strict=False)
    return Entry.model_validate_json(text)


def _parse(line: bytes, path: Path, where: str) -> Entry:
    try:
        entry = from_line(line)
        if entry.trial and (entry.trial.startswith(".") or "/" in entry.trial):  # it is a folder's name
            raise ValueError("this is no trial's name")
        return entry
    except (ValueError, TypeError, RecursionError) as error:
        if b'"data":' in line and b'"kind":' in line and b'"event":' not in line:
            raise Refused(
                "was recorded by flowsweep 0.1, which this version does not read",
                key=str(path),
                fix="Read it with flowsweep 0.1 (`pip install 'flowsweep<0.2'`), or begin in another home.",
            ) from None
        raise UserError(
            f"the record is damaged at {where}",
            key=str(path),
            value=line[:60].decode(errors="replace"),
            fix=_newer(error) or MEND,
        ) from error


def _newer(error: Exception) -> str | None:
    """Return what to do about a line that is whole and only says more than this version knows."""
    found = error.errors() if isinstance(error, ValidationError) else []
    if not found or any(one["type"] != "extra_forbidden" for one in found):
        return None
    fields = ", ".join(dict.fromkeys(str(one["loc"][-1]) for one in found))
    return f"It names what this version does not know ({fields}): read it with the newer flowsweep that wrote it."


def _next(before: int, seq: int, path: Path, where: str) -> int:
    """The position reached, where it follows the one before; a gap is work that was lost, a repeat two writers."""
    if seq == before + 1:
        return seq
    what = f"{seq - before - 1} are missing before it" if seq > before else "it was there before"
    raise UserError(f"the record is damaged at {where}: event {seq}, and {what}", key=str(path), fix=MEND)


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Tell what the system refuses to do with the file."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the record of the sweep cannot be {what}: {error.strerror or error}",
            key=str(error.filename or path),
            fix="See that the disk has room and that its file system may be written and locked; then go on.",
        ) from error


def _force_entries(path: Path) -> None:
    """Force the entries of a new file and of its folder to the disk, where the file system knows how."""
    for folder in (path.parent, path.parent.parent):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(fd)


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path) -> int:
    """Hold the lock file beside the journal; the system lets go of it when the process ends, however it ends."""
    with _told(path, "locked"):
        lock = os.open(_lock_file(path), os.O_RDWR | os.O_CREAT, 0o644)
    for attempt in range(5):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(0.02 * attempt)  # It may only be `writer_of` having a look.
        except OSError as error:
            os.close(lock)
            with _told(path, "locked"):
                raise error
    else:
        os.close(lock)
        raise Refused(
            f"this sweep is being run by {writer_of(path) or 'another process'}",
            key=str(path.parent.name),
            fix="Watch it with `flowsweep show`, or stop that process before you start it here.",
        )
    with _told(path, "locked"):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return lock


def _drop_torn_line(fd: int) -> int:
    size = os.fstat(fd).st_size
    keep = _newline_before(fd, size) + 1
    os.ftruncate(fd, keep)
    return size - keep


def _last_seq(fd: int, path: Path) -> int:
    size = os.fstat(fd).st_size
    if size == 0:
        return -1
    start = _newline_before(fd, size - 1) + 1
    return _parse(os.pread(fd, size - start, start), path, "its last line").seq


def _newline_before(fd: int, end: int, block: int = 1 << 16) -> int:
    """Position of the last newline before ``end``, or -1."""
    while end > 0:
        start = max(0, end - block)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found
        end = start
    return -1
