"""Why a trial could not go on, as a typed value: what becomes of it depends on the class alone."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .disk_room import no_room
from .errors import Diverged, UserError
from .events import Event, Produced
from .places import place_of
from .redaction import redacted

FailureClass = Literal["preempted", "out_of_memory", "diverged", "code_error", "configuration", "disk_full"]
CLASSES: tuple[str, ...] = tuple(name for name in get_args(FailureClass) if name != "disk_full")
"""Those a trial can end with."""


@dataclass(frozen=True)
class Failure:
    """What went wrong.

    Attributes:
        failure_class: ``preempted``: its process or node was taken away; ``out_of_memory``: of the machine or the
            device; ``diverged``: a loss or parameter became non-finite; ``code_error``: any other exception;
            ``configuration``: something a user can mend that was only noticed on the worker; ``disk_full``: what has to
            last could not be written, which is no fault of the trial: the sweep ends, and the trial goes on with it.
        reason: one line of cause.
    """

    failure_class: FailureClass
    reason: str

    def to_json(self) -> dict[str, str]:
        """As it crosses from a worker to the driver."""
        return {"class": self.failure_class, "reason": self.reason}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Failure:
        """The other way round."""
        return cls(said["class"], said["reason"])


def classified(error: BaseException) -> Failure:
    """The failure behind an exception a trial ended with; its words without this process's secrets."""
    found = _classified(error)
    return Failure(found.failure_class, redacted(found.reason))


def _classified(error: BaseException) -> Failure:
    if isinstance(error, Diverged):
        return Failure("diverged", str(error))
    # By name: torch has one of its own, and this module must not load torch to know it.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Failure("out_of_memory", _first_line(error) or "out of memory")
    if isinstance(error, UserError):
        return Failure("configuration", str(error))
    if room := no_room(error):
        return Failure("disk_full", room)
    place = place_of(error)
    where = f" ({place.rpartition('/')[2]})" if place else ""
    return Failure("code_error", f"{type(error).__name__}: {_first_line(error)}{where}")


def log_of(error: BaseException, folder: Path) -> list[Event]:
    """Keep the traceback in the trial's folder, where it is not the user's own mistake or a mere divergence."""
    if isinstance(error, UserError | Diverged) or no_room(error):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    said = redacted("".join(traceback.format_exception(error)))
    (folder / "traceback.txt").write_text(said, encoding="utf-8")
    return [Produced(path="traceback.txt", role="log")]


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
