"""The tracker beside a sweep: fed from the journal, never waited for, caught up after any outage."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import Unreachable, UserError
from ..paths import SweepPaths
from .check import checked_uri, first_line, refused_login
from .place import Place, Target, only_sender
from .sender import Sender

T = TypeVar("T")
ORPHAN_DRAIN_S = 120.0
"""How long a sender goes on after its driver was killed."""


@dataclass(frozen=True)
class TrackerStatus:
    """How the tracker stands.

    Attributes:
        unsent: events not yet sent.
        error: why it is held up.
        refused: what it refused for good, the newest 20.
        refusals: how many times it did.
    """

    unsent: int
    error: str | None
    refused: tuple[str, ...]
    refusals: int


def tracker_status(paths: SweepPaths) -> TrackerStatus:
    """How far the record of a sweep has reached its tracker; asks nobody, reads two files."""
    place = Place.load(paths.tracking)
    refusals = max(place.refusals, len(place.refused))
    unsent = _events_after(paths.journal, place.position)
    return TrackerStatus(unsent, place.error, tuple(place.refused), refusals)


def _events_after(journal: Path, position: int) -> int:
    if not journal.exists():
        return 0
    with open(journal, "rb") as file:
        file.seek(position)
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


class Tracker:
    """Sends a running sweep's journal to MLflow from a process of its own. Holds nothing the sweep needs.

    Args:
        paths: the sweep.
        uri: MLflow's tracking URI, see :func:`checked_uri`.
        experiment: name of the MLflow experiment, made when missing.
        artifacts: folder for artifacts when ``uri`` is a database.
    """

    def __init__(self, paths: SweepPaths, uri: str, experiment: str, artifacts: Path | None = None):
        self.paths, self.target = paths, _target(uri, experiment, artifacts)
        paths.root.mkdir(parents=True, exist_ok=True)
        self._process = self._start()

    def _start(self) -> subprocess.Popen:
        with open(self.paths.root / "tracking.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flowsweep.platform.tracking.sender"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the driver, which then lets the sender drain.
            )
        # By the pipe and not the command line: an address may hold a password.
        settings = {"root": str(self.paths.root), "target": asdict(self.target), "drain_s": ORPHAN_DRAIN_S}
        assert process.stdin is not None
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
        return process

    def status(self) -> TrackerStatus:
        """How far it has come."""
        return tracker_status(self.paths)

    def close(self, timeout_s: float = 60.0, on_progress: Callable[[int], None] | None = None) -> int:
        """Let it send the rest, for at most so long, and end it.

        Args:
            timeout_s: how long to wait.
            on_progress: called about twice a second with the number of events still to send.

        Returns:
            Events not sent; ``catch_up`` sends them whenever the tracker is back.
        """
        if self._process.poll() is not None and self.status().unsent:
            self._process = self._start()  # It died, for want of memory perhaps: one more try.
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None and time.monotonic() < deadline:
            if on_progress is not None:
                on_progress(self.status().unsent)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(min(0.5, max(0.0, deadline - time.monotonic())))
        if self._process.poll() is None:
            self._process.kill()  # Safe at any moment: its place file says what has arrived.
            self._process.wait()
        return self.status().unsent


def catch_up(
    paths: SweepPaths,
    uri: str,
    experiment: str | None = None,
    artifacts: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
    again: bool = False,
) -> int:
    """Send everything the tracker has not got, or has lost since, here and now.

    Args:
        paths: the sweep.
        uri: where to; another tracker than before gets the whole record.
        experiment: name of the MLflow experiment; as before when left out.
        artifacts: folder for artifacts when ``uri`` is a database.
        on_progress: called with the number of events sent so far.
        again: send all of it, also what the tracker has taken or refused before.

    Returns:
        Events sent.

    Raises:
        Refused: the tracker does not let us in.
        Unreachable: the tracker does not take them.
    """
    if experiment is None:
        known = Place.load(paths.tracking).target
        experiment = known[1] if len(known) == 2 else f"flowsweep/{paths.name}"
    total = 0
    with only_sender(paths):
        sender = Sender(paths, _target(uri, experiment, artifacts))
        if again:
            sender.place = Place.at(sender.target)
        _told(sender.look, uri)
        while sent := _told(sender.step, uri):
            total += sent
            if on_progress is not None:
                on_progress(total)
    return total


def _told(call: Callable[[], T], uri: str) -> T:
    """What a call to the tracker returns; what keeps it from that is told as a person can use it."""
    try:
        return call()
    except UserError:
        raise
    except Exception as error:
        if refusal := refused_login(error, uri):
            raise refusal from None
        raise Unreachable(
            f"the tracker does not take the record: {first_line(error)}",
            key="tracking.uri",
            value=uri,
            fix="Nothing is lost; run `flowsweep sync` again when it is back.",
        ) from error


def _target(uri: str, experiment: str, artifacts: Path | None) -> Target:
    uri = checked_uri(uri)
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).parent
        folder.mkdir(parents=True, exist_ok=True)
        artifacts = artifacts or folder / "mlflow-artifacts"
    return Target(uri, experiment, str(artifacts) if artifacts else None)
