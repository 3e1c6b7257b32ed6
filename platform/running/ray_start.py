"""Ray, started here or connected to; what keeps it from that is told with the way out."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psutil

from ..errors import Unreachable, UserError

ANSWER_S = 10.0
"""How long a cluster's address may take to accept a connection."""
SERVER_WAIT, DAEMON_WAIT = "RAY_gcs_server_port_wait_time_s", "RAY_raylet_start_wait_time_s"
"""Seconds that Ray waits for its server to come up and for its daemon to register; of itself 30 each, little on a
busy machine. Where it joins a cluster, the first counts tries of half a minute to reach the server."""
START_WAITS = {SERVER_WAIT: "120", DAEMON_WAIT: "120"}
JOIN_WAITS = {SERVER_WAIT: "2"}
START_FIX = (
    f"Try again when the machine is less busy, give Ray more seconds than 120 ({SERVER_WAIT}, {DAEMON_WAIT}), "
    "or start it once with `ray start --head` and use `--address auto`."
)
LOGS_FIX = "Ray's logs are in the newest folder of /tmp/ray; `flowsweep doctor` looks for usual causes."
SHORT_FIX = "Set RAY_TMPDIR to a folder with a short name, such as /tmp."
ADDRESS_FIX = "Is it up, and is this Ray's own port (6379 as a rule) or `auto`, on a node of the cluster?"


def start_ray(address: str | None) -> None:
    """Start an embedded Ray, or connect to the cluster at ``address``.

    Raises:
        UserError: the address is none that sweeps can be run at.
        Unreachable: the cluster does not answer, or Ray cannot start; on a busy machine it gives up after a while.
    """
    import ray

    if address:
        _check_listens(address)
    embedded = {} if address else {"include_dashboard": False, "object_store_memory": 256 * 2**20}
    try:
        with _environment(JOIN_WAITS if address else START_WAITS), _daemons_apart(), _own_sigterm():
            # "local" and not None: a RAY_ADDRESS or a forgotten `ray start` would otherwise be joined instead.
            ray.init(
                address=address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **embedded
            )
    except Exception as error:
        raise (unconnected(address, error) if address else unstarted(error)) from error


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


def unstarted(error: BaseException) -> Unreachable:
    """What to say when an embedded Ray has not started."""
    said = _first_line(error)
    if "AF_UNIX" in said:
        return Unreachable(f"Ray's sockets have too long a path: {said}", key="TMPDIR", fix=SHORT_FIX)
    if "timed out" not in said.lower():
        return Unreachable(f"Ray cannot be started here: {said}", fix=LOGS_FIX)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    state = f"load {load:.1f} on {cores} cores"
    fix = START_FIX if load > cores else LOGS_FIX
    return Unreachable(f"Ray did not start in time ({state}): {said}", fix=fix)


def unconnected(address: str, error: BaseException) -> Unreachable:
    """What to say when a cluster cannot be joined."""
    return Unreachable(
        f"no Ray cluster answers there: {_first_line(error)}", key="--address", value=address, fix=ADDRESS_FIX
    )


def _check_listens(address: str) -> None:
    """Ray itself would try a dead address for ten minutes."""
    if "://" in address:
        raise UserError(
            "a driver connects to Ray's own port", key="--address", value=address,
            fix="On a node of the cluster use `auto` or HOST:6379; from elsewhere `flowsweep submit`.",
        )  # fmt: skip
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdigit()):
        return  # `auto`, `local`: Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise unconnected(address, error) from None


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables for a while, where the user has not set them."""
    ours = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextmanager
def _daemons_apart() -> Iterator[None]:
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
def _own_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does to this process; Ray would have it leave without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0][:300] if lines else type(error).__name__).rstrip(".")
