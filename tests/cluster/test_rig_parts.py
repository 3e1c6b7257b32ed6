"""What a rig is made of, without Ray: networks that can be cut, processes that are found again, commands that are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from flowsweep.cluster import rig_processes as processes
from flowsweep.cluster.rig import Rigging
from flowsweep.cluster.rig_command import environment, ray_start
from flowsweep.cluster.rig_network import Namespaces, why_no_namespaces
from flowsweep.cluster.rig_record import Node, Rig, Shape
from flowsweep.platform.cli import app
from flowsweep.platform.errors import Refused, UserError
from flowsweep.trainables.handed import HANDED
from typer.testing import CliRunner

NO_NAMESPACES = why_no_namespaces()
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def record() -> Rig:
    return Rig(mark="m", kind="loopback", subnet=64, scratch="/tmp/fsrig-x", ports=(7001, 7002, 7003))


@pytest.fixture
def mark():
    name = f"test-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    processes.kill(name)


def until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not found():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def started(mark: str, node: str, tmp_path, command=SLEEP) -> int:
    variables = {**os.environ, processes.MARK: mark, processes.NODE: node}
    return processes.start(command, variables, tmp_path / "log")[0]


def test_only_processes_of_the_node_are_killed_with_what_they_started(mark, tmp_path):
    parent = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(60)"
    family = [sys.executable, "-c", parent, *SLEEP]
    one = started(mark, "node-1", tmp_path, family)
    other = started(mark, "node-2", tmp_path)
    stranger = subprocess.Popen(SLEEP)
    try:
        until(lambda: len(processes.marked(mark)) == 3)
        assert processes.kill(mark, "node-1") == 2
        assert processes.started_at(one) is None
        assert processes.started_at(other) is not None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_of_the_same_number_is_not_taken_for_the_node(mark, tmp_path):
    pid = started(mark, "node-1", tmp_path)
    begun = processes.started_at(pid)
    assert begun is not None
    assert Node(number=1, shape=Shape(), pid=pid, started=begun).alive
    assert not Node(number=1, shape=Shape(), pid=pid, started=begun - 60).alive


def test_suspended_processes_stand_still_until_they_are_resumed(mark, tmp_path):
    process = psutil.Process(started(mark, "node-1", tmp_path))
    processes.suspend(mark, "node-1")
    until(lambda: process.status() == psutil.STATUS_STOPPED)
    processes.resume(mark, "node-1")
    until(lambda: process.status() != psutil.STATUS_STOPPED)


def test_a_node_is_started_with_what_it_says_it_has_and_under_no_other_clusters_settings(
    record, monkeypatch, tmp_path
):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of another cluster")
    shape = Shape(cpus=2, gpus=4, custom={"a100": 1}, labels={"zone": "b", "spot": "yes"})
    command = ray_start(record, 2, shape)
    assert {"--num-cpus=2", "--num-gpus=4", '--resources={"a100": 1.0}', "--labels=zone=b,spot=yes"} <= set(
        command
    )
    assert "--address=127.0.64.1:7001" in command
    assert "--node-ip-address=127.0.64.2" in command
    head = ray_start(record, 1, Shape())
    assert "--head" in head
    assert not [part for part in head if part.startswith("--address")]
    variables = environment(record, 2, tmp_path / "token")
    assert "RAY_ADDRESS" not in variables
    assert "RAY_AUTH_TOKEN" not in variables
    assert variables["RAY_AUTH_MODE"] == "token"


def test_what_is_on_record_is_read_back(record, tmp_path):
    whole = record.model_copy(update={"nodes": (Node(number=1, shape=Shape(gpus=2), pid=1, started=0.5),)})
    (tmp_path / "rig.json").write_text(whole.model_dump_json())
    assert Rigging(tmp_path).read() == whole
    with pytest.raises(UserError, match=r"no such node \(got 'node-7'\)"):
        whole.node("node-7")


def test_a_damaged_record_is_told_with_the_way_out(tmp_path):
    (tmp_path / "rig.json").write_text('{"mark": ')
    with pytest.raises(UserError, match=r"rig\.json: is no record of a rig.*FLOWSWEEP_RIG"):
        Rigging(tmp_path).read()


def test_a_second_rig_in_the_same_home_is_refused(record, tmp_path):
    (tmp_path / "rig.json").write_text(record.model_dump_json())
    with pytest.raises(Refused, match="a rig is up already"):
        Rigging(tmp_path).up(Shape(), 2, None)


def test_the_head_is_not_cut_off(record, tmp_path):
    node = Node(number=1, shape=Shape(), pid=1, started=0.5)
    (tmp_path / "rig.json").write_text(record.model_copy(update={"nodes": (node,)}).model_dump_json())
    with pytest.raises(Refused, match=r"is the head.*kill-head"):
        Rigging(tmp_path).cut("node-1")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["status"], 2, "there is no rig"),
        (["down"], 2, "there is no rig"),
        (["add", "--resource", "a100"], 2, "--resource: must look like NAME=VALUE"),
        (["add", "--resource", "a100=many"], 2, "--resource a100: must be a number above 0"),
        (["cut", "node-2", "--for", "soon"], 2, "--for: is no length of time"),
        (["exec"], 2, "there is no rig"),
    ],
)
def test_mistakes_are_told_before_anything_is_started(command, code, message, monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(app, ["cluster", "rig", *command])
    assert isinstance(done.exception, UserError)
    assert done.exception.exit_code == code
    assert message in str(done.exception)


@pytest.mark.skipif(NO_NAMESPACES is not None, reason=str(NO_NAMESPACES))
def test_rigs_that_start_at_the_same_time_get_networks_of_their_own():
    with ThreadPoolExecutor(4) as pool:
        subnets = [claimed.result() for claimed in [pool.submit(Namespaces.claim_subnet) for _ in range(4)]]
    try:
        assert len(set(subnets)) == 4
    finally:
        for subnet in set(subnets):
            Namespaces(subnet).down([])


@pytest.mark.skipif(NO_NAMESPACES is not None, reason=str(NO_NAMESPACES))
def test_a_node_that_cannot_be_connected_leaves_nothing_behind(record, tmp_path):
    subnet = Namespaces.claim_subnet()
    rig = record.model_copy(update={"kind": "namespaces", "subnet": subnet})
    (tmp_path / "rig.json").write_text(rig.model_dump_json())
    rig.network.down([])  # as if somebody had deleted the bridge: the node's link cannot join it
    with pytest.raises(UserError, match="the rig's network could not be made"):
        Rigging(tmp_path).add(Shape())
    assert not Path(f"/run/netns/fsrig{subnet}-1").exists()
    assert not Path(f"/sys/class/net/fsrig{subnet}v1").exists()
    assert Rigging(tmp_path).read() == rig


@pytest.mark.skipif(NO_NAMESPACES is not None, reason=str(NO_NAMESPACES))
def test_a_node_that_is_cut_off_is_reached_by_nobody_until_it_is_put_back(mark, tmp_path):
    network = Namespaces(Namespaces.claim_subnet())
    try:
        network.up()
        for node in (1, 2):
            network.connect(node)
        serve = [sys.executable, "-m", "http.server", "8000", "--bind", network.address(2)]
        started(mark, "node-2", tmp_path, [*network.inside(2, "rig-node-2"), *serve])
        ask = f"import urllib.request as r; r.urlopen('http://{network.address(2)}:8000', timeout=2)"

        def answers() -> bool:
            return (
                subprocess.run([*network.join(1), sys.executable, "-c", ask], capture_output=True).returncode
                == 0
            )

        until(answers)
        network.cut(2)
        assert network.is_cut(2)
        assert not answers()
        network.mend(2)
        assert not network.is_cut(2)
        assert answers()
    finally:
        processes.kill(mark)
        network.down([1, 2])
    left = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True).stdout
    assert not [link for link in json.loads(left) if link["ifname"].startswith(network.bridge)]


def test_a_node_is_told_no_secret_and_its_sweeps_find_them(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret-of-the-store")
    record = Rig(mark="m", kind="loopback", subnet=64, scratch=str(tmp_path), ports=(7001, 7002, 7003))
    variables = environment(record, 1, tmp_path / "token")
    assert "planted-secret-of-the-store" not in "".join(variables.values())
    handed = Path(variables[HANDED])
    assert json.loads(handed.read_text())["AWS_SECRET_ACCESS_KEY"] == "planted-secret-of-the-store"
    assert handed.stat().st_mode & 0o077 == 0


def test_the_log_of_a_node_is_its_owners(mark, tmp_path):
    started(mark, "node-1", tmp_path)
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0
