"""How far a sweep's journal has reached its tracker: persisted, so that neither a crash nor an outage loses the place."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..paths import SweepPaths


@dataclass(frozen=True)
class Target:
    """Where the record of a sweep goes.

    Attributes:
        uri: MLflow's tracking URI.
        experiment: name of the MLflow experiment.
        artifacts: folder for artifacts when the store has no server to decide.
    """

    uri: str
    experiment: str
    artifacts: str | None = None


@dataclass
class Place:
    """How far the journal has been sent, and which run is which. Lies in ``SweepPaths.tracking``.

    Attributes:
        target: address without login, and experiment; another target starts from the beginning.
        position: bytes of the journal already sent.
        runs: name of a run within the sweep to its id at the tracker.
        steps: see :func:`translate`.
        shared: see :func:`translate`.
        refused: what the tracker would not take, the newest 20.
        refusals: how many times it would not.
        error: why sending is held up at the moment.
    """

    target: list[str] = field(default_factory=list)
    position: int = 0
    runs: dict[str, str] = field(default_factory=dict)
    steps: dict[str, dict[str, int]] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    refusals: int = 0
    error: str | None = None

    @classmethod
    def at(cls, target: Target) -> Place:
        """The beginning, for that target."""
        return cls(target=[without_login(target.uri), target.experiment])

    @classmethod
    def load(cls, path: Path) -> Place:
        """The persisted place, or the beginning when there is none that can be read."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()

    def refuse(self, what: str) -> None:
        """Note what the tracker would not take."""
        self.refused = [*self.refused, what][-20:]
        self.refusals += 1

    def save(self, path: Path) -> None:
        """Persist it, atomically."""
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        with open(aside, "w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)


@contextmanager
def only_sender(paths: SweepPaths, wait: bool = True) -> Iterator[bool]:
    """Hold the right to send this sweep. Yields False when another process has it and ``wait`` is off."""
    with open(paths.tracking.with_name(paths.tracking.name + ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def without_login(uri: str) -> str:
    """The address as it may be shown and stored."""
    scheme, mark, rest = uri.partition("://")
    return scheme + mark + rest.rpartition("@")[2] if mark and not scheme.startswith("sqlite") else uri
