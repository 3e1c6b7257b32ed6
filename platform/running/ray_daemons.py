"""The daemons that Ray starts for an embedded cluster: out of the way of our signals, and ended with all they started."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psutil


def ray_node() -> Any:
    """What Ray knows of the daemons that it has started here."""
    from ray._private import worker

    return worker._global_node


def ended_daemon() -> str:
    """Which of the daemons started here for an embedded Ray has ended without being told to, and how; else empty."""
    for name in ("gcs_server", "raylet"):
        for daemon in getattr(ray_node(), "all_processes", {}).get(name, ()):
            if (status := daemon.process.poll()) is not None:
                return f"its {name} {'ended by signal' if status < 0 else 'left with'} {abs(status)}"
    return ""


@contextmanager
def daemons_apart() -> Iterator[None]:
    """Let signals that end this process pass by the daemons that are started meanwhile.

    They get process groups of their own, and are deaf to SIGTERM: sent to all of a job's processes (by `timeout`, systemd,
    a scheduler), it is for the driver, which needs Ray to hear what trials have stored. They end with the driver, however
    that ends; workers, which inherit this, listen again (:mod:`flowsweep.trainables.leaving`).
    """
    from ray._private import node, services

    popen = services.ConsolePopen

    def start(command: Any, preexec_fn: Callable[[], None] | None = None, **options: Any) -> Any:
        def prepare() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            if preexec_fn:
                preexec_fn()

        return popen(command, preexec_fn=prepare, process_group=0, **options)

    services.ConsolePopen = start  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        services.ConsolePopen = popen  # type: ignore[misc]
    started = ray_node()
    if isinstance(started, node.Node):  # asking them nicely would take a second each
        started.kill_all_processes = partial(_kill_all, started.kill_all_processes)  # type: ignore[method-assign]


def _kill_all(kill: Callable[..., None], **how: Any) -> None:
    with _children_too():
        kill(**{**how, "allow_graceful": False})


def end_daemons() -> None:
    """End the daemons that were started here and all that they have started, at once."""
    with _children_too():
        for daemon in _daemons():
            daemon.kill()


@contextmanager
def _children_too() -> Iterator[None]:
    """What Ray's daemons have started ends after them; agents would look for a server that is gone, for a minute."""
    children: list[psutil.Process] = []
    for daemon in _daemons():
        with suppress(psutil.Error):
            children += psutil.Process(daemon.pid).children(recursive=True)
    yield
    for child in children:
        with suppress(psutil.Error):
            child.kill()  # psutil looks whether it is still the process it was


def _daemons() -> list[Any]:
    groups = getattr(ray_node(), "all_processes", {}).values()
    return [info.process for group in groups for info in group if info.process.poll() is None]


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does to this process; Ray would have it leave without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
