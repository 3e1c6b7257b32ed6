"""The append-only record of a sweep: one JSON line per fact, written before anything else happens with it.

A line is ``{"seq": 7, "time": 1760000000.0, "kind": "decision", "trial": "t3", "data": {...}}``. Non-finite numbers
are kept (see :mod:`flowsweep.trainables.lossless_json`). What each kind of fact says in ``data``:

====================  ==================================================================================================
``sweep_started``     name, spec, plan, code_version, code {versions, modules}, flowsweep_version, host, device, versions;
                      dataset, environment or problem {name, fingerprint}: what is learnt from
``sweep_resumed``     the same, as it is now; despite: changes of data or code it goes on over
``sweep_ended``       status, reason
``trial_proposed``    number, phase (search, confirm, baseline), params, configs, seeds, through, confirms (which trial)
``trial_placed``      node, pid, device
``places``            trials (that may run at once from now on), fit (the cluster, nothing else running there), reason
``stage_computed``    stage, key, seed, steps, cpu_s, wall_s, bytes, reason (it had been stored or claimed before)
``stage_reused``      stage, key, seed, saved_cpu_s
``worker_lost``       stage, step (from which its work is taken up again), reason
``progress``          stage, step, steps, seeds, metrics (name to one value per lane), cpu_s
``evaluated``         stage, step, steps, seeds, metrics, episodes (per lane), episodes_spent, cpu_s
``checkpoint``        stage, step, path
``checkpoint_skipped``  stage, step, reason: there was no room for it; the trial goes on
``checkpoint_damaged``  stage, step, reason, resumed_step: it was passed over for the one before
``checkpoints_dropped``  paths, bytes, reason: to keep ``checkpoints.budget_gib``
``checkpoints_over_budget``  bytes, reason: what is left may not be dropped
``waiting``           stage, key, holder
``decision``          action (stop), rule, reason; without a trial: action (no_more_trials)
``search_ended``      reason: nothing was left to propose, though fewer trials were tried than asked for
``warm_started``      sweeps: by name, trials taken and left out, with reasons
``storage_behind``    reason: the study's storage cannot be written; what it lacks waits and follows
``continued``         stage, step (of the checkpoint it was taken up again from), steps, seeds
``trial_retried``     class, reason, lanes (seeds at once; null: all), asked (by a person), afresh (without its checkpoints)
``trial_extended``    stage, previous_steps, steps, configs, request: it goes on to a later end
``study_renewed``     study, of, reopened, outside: the search goes on in a new edition of its study (platform/going_on/renewal.py)
``trial_ended``       status (finished, pruned, diverged, out_of_memory, preempted, failed, cancelled), reason, value,
                      failure (class, where it failed)
``artifact``          path (relative to the sweep's folder), role (checkpoint, config, plot, media)
``recovered``         dropped_bytes: a torn last line was removed when the journal was opened again
====================  ==================================================================================================

Facts about a trial carry its id in ``trial``. A line without its newline was never finished and does not count: reading
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...trainables.lossless_json import dumps, loads
from ...trainables.redaction import Redactor
from ..errors import Refused, UserError

ENDINGS = frozenset({"sweep_started", "sweep_resumed", "sweep_ended", "trial_ended", "stage_computed"})
"""Kinds forced to the disk at once; with them goes every line before. The rest survives a killed process, but
not a machine that loses power within the next seconds."""


MEND = "Put back a good copy of the file; or delete the sweep (`flowsweep delete`) and run it anew."


@dataclass(frozen=True)
class Fact:
    """Something that happened, as the journal keeps it.

    Attributes:
        seq: position in the sweep, from 0.
        time: unix seconds at the writer.
        kind: see the table in this module.
        trial: the trial concerned, if any.
        data: what the kind says.
    """

    seq: int
    time: float
    kind: str
    trial: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


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
        self.recovered: Fact | None = None
        """Set when opening had to remove a torn last line."""
        if dropped_bytes:
            self.recovered = self.append("recovered", dropped_bytes=dropped_bytes)

    def append(self, kind: str, trial: str | None = None, **data: Any) -> Fact:
        """Write one fact, secrets taken out, and return it; when this returns, a killed process no longer loses it.

        Raises:
            UserError: the disk is full or the file cannot be written; the record then ends before this fact.
        """
        with self._thread_lock:
            fact = Fact(self._next_seq, time.time(), kind, trial, data)
            line = dumps(vars(fact))
            if self._redactor.text(line) != line:  # a line in which something was replaced need not be JSON
                fact = replace(fact, data=self._redactor.value(fact.data))
                line = dumps(vars(fact))
            self._write(line.encode() + b"\n")
            self._next_seq += 1
            if kind in ENDINGS:
                self._force()
            return fact

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


def read(path: Path, after_seq: int = -1) -> Iterator[Fact]:
    """The facts of a journal in order, also while it is being written.

    Args:
        path: the journal's file.
        after_seq: leave out facts up to and including this one.

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
            fact = _parse(line, path, f"line {number}")
            before = _next(before, fact.seq, path, f"line {number}")
            if fact.seq > after_seq:
                yield fact


def tail(path: Path, offset: int, limit_bytes: int = 1 << 20) -> tuple[list[Fact], int]:
    """The finished facts from a byte offset on, for a reader that keeps its place.

    Args:
        path: the journal's file; one that does not exist yet has no facts.
        offset: 0, or what an earlier call returned.
        limit_bytes: read about this much; a longer line is read whole.

    Returns the facts, and the offset to continue from (unchanged when nothing was added).

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
    facts, place = [], offset
    for line in chunk[:end].splitlines(keepends=True):
        facts.append(_parse(line, path, f"byte {place}"))
        if len(facts) > 1 or not place:
            _next(facts[-2].seq if len(facts) > 1 else -1, facts[-1].seq, path, f"byte {place}")
        place += len(line)
    return facts, place


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


def _parse(line: bytes, path: Path, where: str) -> Fact:
    try:
        fact = Fact(**loads(line))
        if not _has_form(fact):
            raise ValueError("this is no fact")
        if fact.trial and (fact.trial.startswith(".") or "/" in fact.trial):  # it is a folder's name
            raise ValueError("this is no trial's name")
        return fact
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"the record is damaged at {where}",
            key=str(path),
            value=line[:60].decode(errors="replace"),
            fix=MEND,
        ) from error


def _has_form(fact: Fact) -> bool:
    return (
        isinstance(fact.seq, int)
        and isinstance(fact.time, int | float)
        and isinstance(fact.kind, str)
        and isinstance(fact.trial, str | None)
        and isinstance(fact.data, Mapping)
    )


def _next(before: int, seq: int, path: Path, where: str) -> int:
    """The position reached, where it follows the one before; a gap is work that was lost, a repeat two writers."""
    if seq == before + 1:
        return seq
    what = f"{seq - before - 1} are missing before it" if seq > before else "it was there before"
    raise UserError(f"the record is damaged at {where}: fact {seq}, and {what}", key=str(path), fix=MEND)


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
