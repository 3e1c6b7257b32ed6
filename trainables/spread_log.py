"""What workers of one stage say, as files in the trial's folder: nothing is lost with a process, and no process is needed to carry it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .events import Event, event_of
from .lossless_json import dumps, loads

CPU = "cpu"
"""Kind of the line that says how much process time a life took."""


class SpreadLog:
    """The lines of one worker, of all its lives; only that worker writes.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._read_bytes = 0

    def say(self, event: Event) -> None:
        """Append an event."""
        self._append(event.to_json())

    def say_cpu(self, cpu_s: float) -> None:
        """Append the process time of a life that ends."""
        self._append({"kind": CPU, "cpu_s": cpu_s})

    def heard(self) -> tuple[list[Event], float]:
        """What was appended since the last call: events in order, and process time in seconds."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._read_bytes)
                new = file.read()
        except FileNotFoundError:
            return [], 0.0
        whole = new[: new.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        events, cpu_s = [], 0.0
        for line in whole.splitlines():
            said = _parsed(line)
            if said.get("kind") == CPU:
                cpu_s += said["cpu_s"]
            elif said:
                events.append(event_of(said))
        return events, cpu_s

    def _append(self, said: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as file:
            # A killed worker may have left half a line; what follows must not be joined to it.
            file.write(b"\n" * _torn(self.path) + dumps(said).encode() + b"\n")


def _torn(path: Path) -> bool:
    with open(path, "rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        return dict(loads(line)) if line.strip() else {}
    except (ValueError, TypeError):
        return {}  # The torn end of a killed life; it is said again by the next.
