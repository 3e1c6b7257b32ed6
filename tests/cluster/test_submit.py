"""A sweep and its code go to a real Ray cluster, and can be followed and stopped there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flowsweep.cluster import jobs
from flowsweep.cluster.connection import connected
from flowsweep.cluster.endpoint import Endpoint, ray_version
from flowsweep.cluster.package import pack
from flowsweep.cluster.submit import SWEEP_FILE, Order, job_name, submit
from flowsweep.platform.errors import Refused, UserError

PROBE = """\
import json, os, sys
from importlib.metadata import distribution, entry_points

import ray

def seen():
    import flowsweep.platform.errors
    systems = entry_points(group="flowsweep.systems")
    return {
        "package": flowsweep.__file__,
        "systems": {point.name: str(point.dist.locate_file("")) for point in systems},
        "home": os.environ["FLOWSWEEP_HOME"], "colour": os.environ["COLOUR"],
        "token": "RAY_AUTH_TOKEN" in os.environ,
    }

ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
print("SEEN", json.dumps({
    "arguments": sys.argv[1:], "sweep": open("sweep.yaml").read(), "files": os.listdir("."),
    "driver": seen(), "task": ray.get(ray.remote(seen).remote()),
}))
"""

SLOW_TO_STOP = """\
import signal, sys, time

def store(*_):
    time.sleep(4)  # Ray's own patience ends after 3
    print("everything is stored", flush=True)
    sys.exit(0)

signal.signal(signal.SIGINT, store)  # as Ctrl-C: a sweep told by SIGTERM has seconds only
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def at(head) -> Endpoint:
    return Endpoint(head.url, head.token)


@pytest.fixture
def order(tmp_path):
    """Makes orders whose interpreter is a script that stands where the sweep's driver would."""

    def make(name: str, program: str) -> Order:
        script = tmp_path / f"{name}.py"
        script.write_text(f"#!{sys.executable}\n{program}")
        script.chmod(0o755)
        return Order(
            name,
            ("take-up", SWEEP_FILE),
            content={"name": name},
            spec={"name": name, "search": {"trials": 2}},
            python=str(script),
            home="/shared/flowsweep",
            variables={"COLOUR": "blue"},
        )

    return make


def test_the_code_the_registered_systems_and_the_sweep_reach_driver_and_tasks(at, order):
    done = submit(order("probe", PROBE), at)
    with connected(at) as client:
        printed: list[str] = []
        over = jobs.follow(client, jobs.find(client, "probe"), printed.append)
    assert (over.job, over.status) == (done.job, "succeeded"), over.message
    line = next(line for line in "".join(printed).splitlines() if line.startswith("SEEN "))
    seen = json.loads(line.removeprefix("SEEN "))
    assert seen["arguments"][:2] == ["-m", "flowsweep.cluster.entry"]
    assert seen["arguments"][2:] == ["take-up", "sweep.yaml"]
    assert (seen["sweep"], seen["files"]) == ("name: probe\n", ["sweep.yaml"])
    for place in (seen["driver"], seen["task"]):
        assert "py_modules_files" in place["package"], "the node's own installation was used"
        assert "py_modules_files" in place["systems"]["fidec"]
        assert (place["home"], place["colour"]) == ("/shared/flowsweep", "blue")


def test_a_running_sweep_is_not_started_twice_and_stops_when_asked(at, order):
    sleeper = order("long", SLOW_TO_STOP)
    first = submit(sleeper, at)
    with pytest.raises(Refused, match=f"already running there as {first.job}.*flowsweep attach long"):
        submit(sleeper, at)
    other = replace(sleeper, spec={"name": "long", "search": {"trials": 3}})
    with pytest.raises(Refused, match=r"another sweep of this name.*search\.trials: 2 there, 3 here"):
        submit(other, at)
    with connected(at) as client:
        _wait(lambda: "ready" in jobs.logs(client, jobs.find(client, "long")))
        assert jobs.stop(client, jobs.find(client, first.job))
        _wait(lambda: jobs.find(client, first.job).over)
        stopped = jobs.find(client, "long")
        assert stopped.status == "stopped"
        assert "everything is stored" in jobs.logs(client, stopped), "it was killed while it stored its state"
        assert not jobs.stop(client, stopped), "it is over already"


def test_a_job_is_found_by_its_id_and_by_the_sweeps_name_but_not_by_another(at, order):
    done = submit(order("short", "print('here')"), at)
    with connected(at) as client:
        assert jobs.find(client, "short").job == jobs.find(client, done.job).job == done.job
        _wait(lambda: jobs.find(client, "short").over)
        assert "here" in jobs.logs(client, jobs.find(client, "short"))
        with pytest.raises(UserError, match="Did you mean `short`"):
            jobs.find(client, "shart")


def test_whoever_stops_reading_is_not_told_of_a_lost_connection(at, order):
    def closed(_: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    submit(order("unread", "print('here')"), at)
    with connected(at) as client, pytest.raises(BrokenPipeError):
        jobs.follow(client, jobs.find(client, "unread"), closed)


def test_rays_own_variable_does_not_win_over_the_address_given(at, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    with connected(at) as client:
        assert client.get_address() == at.url
    assert "RAY_API_SERVER_ADDRESS" not in os.environ


@pytest.mark.parametrize(
    ("token", "said"), [(None, "asks for a token"), ("wrong", "does not accept the token")]
)
def test_a_missing_and_a_wrong_token_are_told_apart(at, token, said):
    with pytest.raises(Refused, match=rf"{said}.*RAY_AUTH_TOKEN"):
        ray_version(Endpoint(at.url, token))


@pytest.mark.parametrize("there", [False, True], ids=["missing", "not executable"])
def test_an_interpreter_that_cannot_be_run_on_the_head_node_is_named(at, order, tmp_path, there):
    python = tmp_path / "nopython"
    if there:
        python.write_text("")
    with pytest.raises(Refused, match=rf"--python: no such program .*'{python}'"):
        submit(replace(order(f"unrunnable-{there}", PROBE), python=str(python)), at, wait_s=60)


def test_job_names_carry_the_sweep_and_the_time():
    assert (
        job_name("umaze.1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "flowsweep-umaze.1-20260102T030405"
    )


def test_a_node_without_the_requirements_says_what_it_lacks(tmp_path):
    folders = os.pathsep.join(str(folder.parent) for folder in pack(tmp_path))
    done = subprocess.run(
        [sys.executable, "-S", "-m", "flowsweep.cluster.entry", "run", "sweep.yaml"],
        env={"PYTHONPATH": folders}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "lacks" in done.stderr
    assert "torch" in done.stderr
    assert "--python" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_package_is_laid_out_without_leftovers_of_the_source_tree(tmp_path):
    package, metadata = pack(tmp_path)
    assert {item.name for item in package.iterdir()} == {
        "__init__.py", "testing.py", "py.typed", "platform", "trainables", "search_spaces", "cluster",
    }  # fmt: skip
    assert not [file for file in package.rglob("*") if file.suffix == ".pyc"]
    assert "flowsweep.systems" in (Path(metadata) / "entry_points.txt").read_text()


def _wait(done, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
