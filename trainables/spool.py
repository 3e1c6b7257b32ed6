"""What a worker has said and the driver may not have heard: kept beside the trial until it surely has.

A checkpoint may be newer than the last result that reached the driver. Whoever continues from it does not repeat what
lies before it, so a worker killed between the two would leave a hole in the record. It says these lines again instead; the
driver drops what it has already got.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .lossless_json import dumps, loads


class Spool:
    """Events in ``folder/unheard.jsonl``.

    Args:
        folder: the trial's own.
    """

    def __init__(self, folder: Path):
        self.path = folder / "unheard.jsonl"

    def say(self, event: Mapping[str, Any]) -> None:
        """Note an event, before anything that follows it can be stored.

        Raises:
            OSError: it could not be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(dumps(event) + "\n")

    def unheard(self) -> list[dict[str, Any]]:
        """What may not have been heard; a torn last line was never said, and is removed."""
        if not self.path.exists():
            return []
        said = self.path.read_bytes()
        whole = said[: said.rfind(b"\n") + 1]
        if whole != said:  # what is said next must not be joined to it
            os.truncate(self.path, len(whole))
        return [loads(line) for line in whole.splitlines()]

    def heard(self) -> None:
        """Everything noted so far has arrived."""
        if self.path.exists() and self.path.stat().st_size:
            self.path.write_bytes(b"")
