"""Ray, started here or connected to; what keeps it from that is told with the way out."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..errors import Unreachable, UserError
from .ray_daemons import daemons_apart, own_sigterm
from .ray_private import environment, keep, private_folder, small_head, without_secrets

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
NO_PRESTART = {"RAY_prestart_worker_first_driver": "0"}
"""Workers that Ray starts in advance are not those that trials get."""
ADDRESS_FIX = "Is it up, and is this Ray's own port (6379 as a rule) or `auto`, on a node of the cluster?"


@contextmanager
def running_ray(address: str | None) -> Iterator[None]:
    """A Ray of our own, or a connection to the cluster at ``address``; over afterwards.

    Raises:
        UserError: the address is none that sweeps can be run at, or Ray's files cannot be written.
        Unreachable: the cluster does not answer, or Ray cannot start; on a busy machine it gives up after a while.
    """
    import ray

    with ExitStack() as until_over:
        if address:
            _connect(address)
        else:
            _start(until_over.enter_context(private_folder()))
        until_over.callback(ray.shutdown)
        yield


def _connect(address: str) -> None:
    _check_listens(address)
    try:
        with environment(_unset(JOIN_WAITS)), own_sigterm():
            _init(address)
    except Exception as error:
        raise unconnected(address, error) from error


def _start(folder: Path) -> None:
    variables = environment(_unset({**START_WAITS, **NO_PRESTART}))
    try:
        with variables, without_secrets(folder), small_head() as options, daemons_apart(), own_sigterm():
            # "local" and not None: a RAY_ADDRESS or a forgotten `ray start` would otherwise be joined instead.
            _init("local", include_dashboard=False, object_store_memory=256 * 2**20, **options)
    except Exception as error:
        keep(folder)
        raise unstarted(error, folder) from error


def _init(address: str, **options: Any) -> None:
    import ray

    options |= {"log_to_driver": False, "logging_level": logging.CRITICAL, "job_config": _safe_path()}
    ray.init(address=address, **options)


def _safe_path() -> Any:
    """Settings under which workers do not look for modules in this process's working directory (as ``python -P``)."""
    from ray.job_config import JobConfig

    class SafePath(JobConfig):
        def _runtime_env_has_working_dir(self) -> bool:
            return True  # all it is asked for is whether to add the directory and the script's to their path

    return SafePath()


def _unset(values: Mapping[str, str]) -> dict[str, str]:
    """Those that the user has not set."""
    return {name: value for name, value in values.items() if name not in os.environ}


def unstarted(error: BaseException, folder: Path) -> Unreachable:
    """What to say when an embedded Ray has not started."""
    said = _first_line(error)
    if "timed out" not in said.lower():
        return Unreachable(f"Ray cannot be started here: {said}", fix=logs_fix(folder))
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    state = f"load {load:.1f} on {cores} cores"
    fix = START_FIX if load > cores else logs_fix(folder)
    return Unreachable(f"Ray did not start in time ({state}): {said}", fix=fix)


def logs_fix(folder: Path) -> str:
    """Where Ray says more."""
    return f"Ray's logs are in {folder / 'ray' / 'session_latest' / 'logs'}; `flowsweep doctor` looks for usual causes."


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


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0][:300] if lines else type(error).__name__).rstrip(".")
