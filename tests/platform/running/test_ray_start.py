"""Ray that does not start, or is not there: said in one line with the way out, and nothing is on record."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flowsweep.platform.errors import Unreachable, UserError
from flowsweep.platform.running.ray_start import DAEMON_WAIT, SERVER_WAIT, running_ray, unstarted
from flowsweep.platform.sweep.yaml_file import dump_yaml

FLOWSWEEP = [sys.executable, "-m", "flowsweep.platform.cli"]
HELD_UP = """
import threading, time
import psutil
from flowsweep.platform.running.ray_start import running_ray

def hold_up():
    while True:
        for child in psutil.Process().children(recursive=True):
            if child.name() == "raylet":
                child.suspend()
                print("held up")
                time.sleep(40)
                child.resume()
                return

threading.Thread(target=hold_up, daemon=True).start()
with running_ray(None):
    print("started")
"""


@pytest.fixture
def silent_port():
    """A port that is ours and that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def run(toy_system, toy_sweep_values, tmp_path: Path):
    """`flowsweep run` of a toy sweep with other variables and options; returns what came of it."""

    def carry_out(*options: str, **variables: str) -> subprocess.CompletedProcess:
        file = tmp_path / "toy.yaml"
        file.write_text(dump_yaml(toy_sweep_values))
        return subprocess.run(
            [*FLOWSWEEP, "run", str(file), *options], capture_output=True, text=True, timeout=300,
            env={**os.environ, "FLOWSWEEP_HOME": str(tmp_path / "home"), **variables},
        )  # fmt: skip

    return carry_out


def test_a_cluster_that_is_not_there_is_told_at_once(silent_port):
    address = f"127.0.0.1:{silent_port}"
    began_s = time.monotonic()
    with (
        pytest.raises(Unreachable, match=f"--address: no Ray cluster answers there: .*{address}") as raised,
        running_ray(address),
    ):
        pass
    assert time.monotonic() - began_s < 60
    assert raised.value.exit_code == 4


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_addresses_of_other_servers_are_refused_with_what_to_use_instead(address):
    with pytest.raises(UserError, match="`flowsweep submit`") as raised, running_ray(address):
        pass
    assert raised.value.exit_code == 2


def test_a_ray_that_starts_too_slowly_ends_the_command_with_one_line_and_leaves_no_sweep(run, tmp_path):
    done = run(**{SERVER_WAIT: "0"})
    assert done.returncode == 4, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Error: Ray did not start in time (load ")
    assert "Timed out waiting for file" in line
    assert not list(tmp_path.glob("home/sweeps/*"))


def test_rays_own_words_are_known_and_the_load_decides_what_to_do(monkeypatch):
    from ray._private import node

    said = 'raise Exception(\n                        "The current node timed out during startup. '
    assert said in inspect.getsource(node), "Ray says it in other words now"
    limit = Exception("The current node timed out during startup. This could happen because ...")
    cores = os.cpu_count() or 1
    monkeypatch.setattr(os, "getloadavg", lambda: (cores + 0.5, 0.0, 0.0))
    busy = str(unstarted(limit, Path("/tmp/fs-ray-x")))
    assert f"load {cores + 0.5:.1f} on {cores} cores" in busy
    assert "Try again when the machine is less busy" in busy
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert "/tmp/fs-ray-x/ray/session_latest/logs" in str(unstarted(limit, Path("/tmp/fs-ray-x")))


def test_other_failures_to_start_are_told_as_they_are():
    error = unstarted(ValueError("The temp_dir is no folder.\nmore"), Path("/tmp/fs-ray-x"))
    assert str(error).startswith("Ray cannot be started here: The temp_dir is no folder. ")


@pytest.mark.slow
@pytest.mark.parametrize(("wait_s", "starts"), [(None, True), ("5", False)])
def test_a_daemon_that_takes_forty_seconds_is_waited_for_unless_told_otherwise(wait_s, starts):
    done = subprocess.run(
        [sys.executable, "-c", HELD_UP], capture_output=True, text=True, timeout=300,
        env={**os.environ, **({DAEMON_WAIT: wait_s} if wait_s else {})},
    )  # fmt: skip
    assert "held up" in done.stdout
    assert ("started" in done.stdout) == starts, done.stdout + done.stderr
    if not starts:
        assert "Ray did not start in time (load " in done.stderr


@pytest.mark.slow
def test_a_server_that_is_no_ray_is_given_up_after_a_minute_not_ten(run):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        began_s = time.monotonic()
        done = run("--address", f"127.0.0.1:{other.getsockname()[1]}")
    assert done.returncode == 4, done.stderr
    assert "no Ray cluster answers there" in done.stderr
    assert time.monotonic() - began_s < 200
