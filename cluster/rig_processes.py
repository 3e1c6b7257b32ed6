"""The processes of a rig's nodes: started apart from us, found again by a mark in their environment, ended for certain."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

MARK, NODE = "FLOWSWEEP_RIG", "FLOWSWEEP_RIG_NODE"
"""Environment variables that everything a node starts inherits."""
# Ray writes names of processes over their environment otherwise, where the mark could not be read.
READABLE = {"SPT_NOENV": "1"}
END_S = 10.0


def started_at(pid: int) -> float | None:
    """When the process of that number was started, in seconds; None when there is none."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.create_time()
    return None


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> tuple[int, float]:
    """Start a process that outlives this one; its number, and when it was started.

    Args:
        environment: all of it.
        log: gets what it prints.
    """
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(environment),
        )
    _await_mark(process.pid, environment)
    return process.pid, started_at(process.pid) or time.time()


def _await_mark(pid: int, environment: Mapping[str, str]) -> None:
    """Until a process can be found by its mark: for a moment after it was started its environment reads as empty."""
    until_s = time.monotonic() + END_S
    with contextlib.suppress(psutil.Error, OSError):
        while time.monotonic() < until_s and psutil.Process(pid).environ().get(MARK) != environment.get(MARK):
            time.sleep(0.001)


def marked(mark: str, node: str | None = None) -> list[psutil.Process]:
    """Every living process of a rig, or of one of its nodes."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get(MARK) == mark and node in (None, environment.get(NODE)):
                found.append(process)
    return found


def kill(mark: str, node: str | None = None) -> int:
    """SIGKILL all of them, as a machine does that loses power; how many there were.

    Looked for again until none is left: a process may start another while it is being ended.
    """
    ended, until_s = set(), time.monotonic() + END_S
    while left := marked(mark, node):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()  # psutil looks whether it is still the process it was
        ended |= {process.pid for process in left}
        psutil.wait_procs(left, 1)
        if time.monotonic() > until_s:
            break
    return len(ended)


def suspend(mark: str, node: str) -> None:
    """Stop every process of a node where it is."""
    for process in marked(mark, node):
        with contextlib.suppress(psutil.Error):
            process.suspend()


def resume(mark: str, node: str) -> None:
    """Let them go on."""
    for process in marked(mark, node):
        with contextlib.suppress(psutil.Error):
            process.resume()
