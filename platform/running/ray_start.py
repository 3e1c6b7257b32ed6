"""Ray, started here or connected to; what keeps it from that is told with the way out."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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
        with _environment(JOIN_WAITS if address else START_WAITS):
            # "local" and not None: a RAY_ADDRESS or a forgotten `ray start` would otherwise be joined instead.
            ray.init(
                address=address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **embedded
            )
    except Exception as error:
        raise (unconnected(address, error) if address else unstarted(error)) from error


def unstarted(error: BaseException) -> Unreachable:
    """What to say when an embedded Ray has not started."""
    said = _first_line(error)
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


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0][:300] if lines else type(error).__name__).rstrip(".")
