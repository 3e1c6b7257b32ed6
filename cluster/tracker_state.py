"""What a tracking server keeps in its folder, and which running processes are its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import psutil
from filelock import FileLock
from filelock import Timeout as Locked

from ..platform.errors import Refused, UserError
from ..trainables.artifacts import write_text

SAME_START_S = 2.0
"""The start of a process is worked out from the time since boot, which the clock's corrections move a little."""


@dataclass(frozen=True)
class TrackerFolder:
    """Every file of a tracking server (``$FLOWSWEEP_HOME/tracker``). Only its owner may read the secrets in it."""

    root: Path

    @property
    def settings(self) -> Path:
        """How it was started last; the next start uses the same."""
        return self.root / "settings.json"

    @property
    def processes(self) -> Path:
        """What runs, by role."""
        return self.root / "processes.json"

    @property
    def password(self) -> Path:
        """The administrator's password, alone."""
        return self.root / "password"

    @property
    def credentials(self) -> Path:
        """The administrator's login in the format of ``~/.mlflow/credentials``."""
        return self.root / "credentials"

    @property
    def auth(self) -> Path:
        """MLflow's own settings for logins."""
        return self.root / "auth.ini"

    @property
    def session_key(self) -> Path:
        """Signs the web page's forms."""
        return self.root / "session-key"

    @property
    def pgpass(self) -> Path:
        """The database's password, in libpq's format."""
        return self.root / "pgpass"

    @property
    def postgresql(self) -> Path:
        """The database server's folder; belongs to whoever the server runs as."""
        return self.root / "postgresql"

    @property
    def artifacts(self) -> Path:
        """Where artifacts go when nothing else is said."""
        return self.root / "artifacts"

    @property
    def log(self) -> Path:
        """What MLflow prints."""
        return self.root / "mlflow.log"

    @property
    def database_log(self) -> Path:
        """What PostgreSQL prints."""
        return self.root / "postgresql.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from starting or ending it meanwhile.

        Raises:
            Refused: another command does so right now.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        # A database that runs as another user must be able to pass through; the files are closed to it.
        self.root.chmod(0o711 if os.geteuid() == 0 else 0o700)
        try:
            with FileLock(self.root / "lock", timeout=0):
                yield
        except Locked:
            raise Refused(
                "another command starts or ends it right now", key="tracker", value=str(self.root),
                fix="Wait for it.",
            ) from None  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: float

    def process(self) -> psutil.Process | None:
        """The process, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < SAME_START_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def marks_of(pid: int) -> tuple[Mark, ...]:
    """A process and everything it has started."""
    try:
        first = psutil.Process(pid)
        family = [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return ()
    found = []
    for process in family:
        try:
            found.append(Mark(process.pid, process.create_time()))
        except psutil.NoSuchProcess:
            continue
    return tuple(found)


def read_processes(folder: TrackerFolder) -> dict[str, tuple[Mark, ...]]:
    """What was started and has not been ended, by role; it may have died since."""
    try:
        kept = json.loads(folder.processes.read_text())
        return {role: tuple(Mark(**mark) for mark in marks) for role, marks in kept.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def note_processes(folder: TrackerFolder, role: str, marks: Sequence[Mark]) -> None:
    """Put down what runs for ``role``; nothing when ``marks`` is empty."""
    kept = {name: [asdict(m) for m in old] for name, old in read_processes(folder).items() if name != role}
    if marks:
        kept[role] = [asdict(mark) for mark in marks]
    write_text(folder.processes, json.dumps(kept, indent=2) + "\n")


def start_server(
    folder: TrackerFolder, role: str, command: Sequence[str | Path], log: Path, **how: Any
) -> subprocess.Popen:
    """Start a server that outlives this process and put it down as ``role``.

    Args:
        log: gets what it prints.
        how: user, folder and environment, as :class:`subprocess.Popen` takes them.
    """
    with open_log(log) as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **how
        )
    note_processes(folder, role, marks_of(process.pid))
    return process


def end_server(
    folder: TrackerFolder, role: str, ask: signal.Signals, wait_s: float, force: signal.Signals
) -> bool:
    """End what runs for ``role``. Says whether anything did."""
    marks = read_processes(folder).get(role, ())
    ran = any(alive((mark,)) for mark in marks)
    if ran:
        end(marks, ask, wait_s, force)
    note_processes(folder, role, ())
    return ran


def alive(marks: Sequence[Mark]) -> bool:
    """Whether the first of them, which answers for the others, still runs."""
    return bool(marks) and marks[0].process() is not None


def end(marks: Sequence[Mark], ask: signal.Signals, wait_s: float, force: signal.Signals) -> None:
    """End processes of ours, the first one first: ``ask``, and ``force`` after ``wait_s``. Others are left alone."""
    known = [process for mark in marks if (process := mark.process())]
    if marks and (first := marks[0].process()):
        known += [child for child in first.children(recursive=True) if child not in known]
        _send(first, ask)
        psutil.wait_procs([first], timeout=wait_s)
    left = [process for process in known if process.is_running()]
    for process in left:
        _send(process, ask)
    _, left = psutil.wait_procs(left, timeout=wait_s / 2)
    for process in left:
        _send(process, force)
    psutil.wait_procs(left, timeout=10.0)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)  # Looks at the start time again before it sends.
    except psutil.NoSuchProcess:
        return


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all, and never readable by others on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.aside")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def secret(path: Path) -> str:
    """The secret kept there; a new one when there is none."""
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(24) + "\n")
    return path.read_text().strip()


def open_log(path: Path) -> IO[str]:
    """A log to add to, that only its owner can read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log, for a message about what did not start."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"  {line[:300]}" for line in lines[-count:])


def write_settings(folder: TrackerFolder, settings: Mapping[str, Any]) -> None:
    """Keep how it was started, for the next start."""
    write_text(folder.settings, json.dumps(settings, indent=2) + "\n")


def read_settings(folder: TrackerFolder) -> dict[str, Any]:
    """How it was started last; empty before the first time.

    Raises:
        UserError: the file that says so is damaged.
    """
    try:
        kept = json.loads(folder.settings.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise UserError(
            "is no record of settings", key=str(folder.settings),
            fix="Delete it, and start the tracking server with its options again; what it has recorded stays.",
        )  # fmt: skip
    return kept
