"""A real Ray head with token authentication, in processes of its own."""

from __future__ import annotations

import contextlib
import copy
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

ADDRESS_VARIABLES = ("FLOWSWEEP_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
TOY = Path(__file__).parents[1] / "support" / "toy"
TOY_SWEEP = {
    "name": "toy",
    "system": "toy",
    "dataset": "toy/points",
    "objective": {"metric": "tune/return"},
    "search": {"trials": 2, "sampler": "random"},
    "seeds": {"tune": [0], "test": [10]},
    "evaluation": {"episodes": 2, "every_steps": 10},
    "confirm": {"top": 1, "episodes": 2},
}
TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Head:
    """A running head node."""

    url: str
    token: str


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="session")
def free_port():
    """Gives a port nobody listens on at the moment."""
    return lambda: _free_ports(1)[0]


@pytest.fixture(autouse=True)
def _no_address_or_token_of_this_machine(monkeypatch, tmp_path):
    for name in (*ADDRESS_VARIABLES, *TOKEN_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    for name in ("FLOWSWEEP_CLUSTER", "FLOWSWEEP_ALLOW_INSECURE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """A head node with a token, shared by all tests that do not harm it."""
    with _head({}) as found:
        yield found


@pytest.fixture
def start_head():
    """Starts a head node of the test's own, with more variables."""
    return _head


@contextlib.contextmanager
def _head(more: Mapping[str, str]) -> Iterator[Head]:
    """A head node started for these tests alone; only its own process group is ended."""
    gcs, dashboard, client, agent = _free_ports(4)
    scratch, token = tempfile.mkdtemp(prefix="fs-"), secrets.token_hex(16)  # short: it holds unix sockets
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0", **more}
    options = {
        "port": gcs, "dashboard-port": dashboard, "ray-client-server-port": client,
        "dashboard-agent-listen-port": agent, "min-worker-port": 0, "max-worker-port": 0,
        "dashboard-host": "127.0.0.1", "include-dashboard": "true", "include-log-monitor": "false",
        "temp-dir": scratch, "num-cpus": 1, "object-store-memory": 80_000_000,
    }  # fmt: skip
    with (Path(scratch) / "head.log").open("w") as log:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "ray", "start", "--head", "--block", *(f"--{k}={v}" for k, v in options.items())],
            env={**os.environ, **variables}, cwd=scratch, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        found = Head(f"http://127.0.0.1:{dashboard}", token)
        _wait_until_ready(found, process, Path(scratch) / "head.log")
        yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def _wait_until_ready(head: Head, process: subprocess.Popen, log: Path) -> None:
    headers = {"Authorization": f"Bearer {head.token}"}
    for _ in range(240):
        if process.poll() is not None:
            break
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{head.url}/api/jobs/", headers=headers, timeout=2).ok:
                return
        time.sleep(0.25)
    pytest.fail(f"the head node did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def toy_folder() -> Path:
    """What PYTHONPATH must name for the toy system to be found."""
    return TOY


@pytest.fixture
def toy_sweep_values() -> dict:
    """A toy sweep as a user would write it."""
    return copy.deepcopy(TOY_SWEEP)


@pytest.fixture
def toy_sweep_file(tmp_path, monkeypatch):
    """A sweep of the toy system, which is installed for this process and those it starts."""
    from flowsweep.search_spaces import parameters
    from flowsweep.trainables import base

    monkeypatch.syspath_prepend(str(TOY))
    monkeypatch.setenv("PYTHONPATH", str(TOY), prepend=":")
    base._registered.cache_clear()
    parameters._registered.cache_clear()
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(TOY_SWEEP))
    return file


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def flowsweep(monkeypatch, capfd):
    """Runs a command line in this process."""

    from flowsweep.platform.cli import main

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["flowsweep", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Said(code if isinstance(code, int) else int(bool(code)), *capfd.readouterr())

    return run
