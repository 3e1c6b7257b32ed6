"""What becomes of a trial that could not go on, by the class of its failure alone.

=================  ====================================================================================================
class              what follows
=================  ====================================================================================================
``preempted``      taken up again from its checkpoint. Told to leave (SIGTERM) or on a lost node, it does not count. A
                   worker lost otherwise counts only while the trial comes no further: ``resources.retries`` times
``out_of_memory``  taken up again once, one seed after the other where it trained several at once
``diverged``       ended, and told to the search
``code_error``     ended
``configuration``  ended; nearly all such mistakes are refused before launch
``disk_full``      the driver ends and says so; the trial stays open for ``resume``
=================  ====================================================================================================
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...trainables.failures import CLASSES, Failure, FailureClass

__all__ = [
    "CLASSES",
    "Attempts",
    "Failure",
    "FailureClass",
    "Retry",
    "failed_again",
    "lost_worker",
]

STATUSES = {"diverged": "diverged", "out_of_memory": "out_of_memory"}
"""How a trial ends that is not tried again; every other class ends it as ``failed``."""
_TOLD_TO_LEAVE = re.compile(r"receives? a SIGTERM")
_NODE_LOST = re.compile(
    r"node has died|node was (?:dead|terminated|lost)|DRAIN_PREEMPTED|preempted", re.IGNORECASE
)
_MEMORY_MONITOR = re.compile(r"node running low on memory|NODE_OUT_OF_MEMORY")
_WORKER_LOST = re.compile(
    r"actor (?:died|is dead|is unavailable|\w+ is unavailable)|worker died", re.IGNORECASE
)
_IN_CREATION = re.compile(r"raised in its creation task")


@dataclass
class Attempts:
    """What a trial has been through since it was last taken up by a person.

    Attributes:
        losses: times in a row that its worker was lost before it had come any further.
        known: events on record at the last loss; more of them is progress.
        memory_failures: times it ran out of memory.
        lanes: seeds trained at once, where fewer than all.
    """

    losses: int = 0
    known: int = -1
    memory_failures: int = 0
    lanes: int | None = None


@dataclass(frozen=True)
class Retry:
    """A trial is to be taken up again.

    Attributes:
        reason: why, and how, in words.
        lanes: seeds to train at once; None for all.
    """

    reason: str
    lanes: int | None = None


def failed_again(
    failure: Failure, attempts: Attempts, known: int, seeds: int, retries: int
) -> Retry | Failure:
    """Whether a trial is taken up again, or the failure it ends with.

    Args:
        attempts: brought up to date.
        known: events of the trial on record by now.
        seeds: it trains.
        retries: ``resources.retries``.
    """
    if failure.failure_class == "preempted":
        return _lost_again(failure, attempts, known, retries)
    if failure.failure_class == "out_of_memory" and retries and not attempts.memory_failures:
        attempts.memory_failures += 1
        how = ""
        if seeds > 1 and attempts.lanes != 1:
            attempts.lanes, how = 1, f"; now one of {seeds} seeds after the other"
        return Retry(f"{failure.reason}{how}", attempts.lanes)
    return failure


def _lost_again(failure: Failure, attempts: Attempts, known: int, retries: int) -> Retry | Failure:
    if known > attempts.known:
        attempts.losses = 0
    attempts.known = known
    attempts.losses += failure.reason not in UNCOUNTED
    if attempts.losses <= retries:
        return Retry(failure.reason, attempts.lanes)
    times = "once" if attempts.losses == 1 else f"{attempts.losses} times in a row"
    return Failure("preempted", f"given up: {failure.reason}, {times} without having come any further")


TOLD_TO_LEAVE = "its process was told to leave (SIGTERM)"
NODE_LOST = "its node was lost"
WORKER_LOST = "its worker ended unexpectedly (killed, or crashed outside Python)"
MADE_ROOM = "it made room: fewer trials may run at once"
UNCOUNTED = frozenset({TOLD_TO_LEAVE, NODE_LOST, MADE_ROOM})


def lost_worker(said: str, killed_for_memory: bool = False) -> Failure:
    """The failure behind what Ray says of a worker.

    Args:
        said: Ray's message.
        killed_for_memory: whether the kernel has killed a process for memory since the last look. It does not tell whom.
    """
    if _MEMORY_MONITOR.search(said):
        return Failure(
            "out_of_memory", f"Ray ended its worker: {_line_with('threshold', said) or 'too little memory'}"
        )
    if _IN_CREATION.search(said) or not _WORKER_LOST.search(said):
        return Failure("code_error", _last_line(said) or "its worker could not be started")
    if _TOLD_TO_LEAVE.search(said):
        return Failure("preempted", TOLD_TO_LEAVE)
    if _NODE_LOST.search(said):
        return Failure("preempted", NODE_LOST)
    if killed_for_memory:
        return Failure("out_of_memory", "the kernel ended its worker for want of memory")
    return Failure("preempted", WORKER_LOST)


class MemoryKills:
    """Watches for processes the kernel has killed for memory, in this container or else on this machine."""

    FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control", "/proc/vmstat")

    def __init__(self, files: tuple[str, ...] = FILES):
        self._files = tuple(Path(file) for file in files)
        self._seen = self._count()

    def rose(self) -> bool:
        """Whether there was one since the last look."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        for file in self._files:
            with suppress(OSError):
                if found := re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE):
                    return int(found[1])
        return 0


def _line_with(word: str, text: str) -> str:
    return next((line.strip() for line in text.splitlines() if word in line), "")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
