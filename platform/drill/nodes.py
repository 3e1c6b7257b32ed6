"""A Ray cluster of our own on this machine, whose nodes are killed whole: their daemon and every worker on them."""

from __future__ import annotations

import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from ...trainables.events import Progress
from ..journal.events import TrialRetried
from ..running.failures import NODE_LOST, WORKER_LOST
from ..running.ray_start import START_WAITS
from .faults import SLOW, placed_worker, publishing_worker
from .rig import Missed, Rig, unless

NODE_SETTINGS = {**START_WAITS, "RAY_health_check_period_ms": "1000"}
"""A node that is gone is given up after five seconds, not fifteen."""


def nodes_killed(rig: Rig, rng: random.Random) -> list[str]:
    """Kill a node while it pretrains, one while it publishes and one while it refines; each is replaced by a fresh one."""
    with _cluster(rig) as nodes:
        settings = {"stages__pretrain__pause_s": 0.1, "stages__pretrain__ballast_mib": 96, **SLOW}
        process = rig.run(**settings)
        rig.until_events(process, rng.randrange(1, 5), Progress, stage="pretrain")
        nodes.replace(placed_worker(rig).pid, "which pretrains")
        key, holder = publishing_worker(rig, process)
        nodes.replace(holder["pid"], "which publishes")
        if any(rig.home.stages.glob(f"v*/*/{key}")):
            raise Missed("the output was there before its node was killed")
        rig.until_events(process, rng.randrange(3, 15), Progress, stage="refine")
        nodes.replace(placed_worker(rig).pid, "which refines")
        rig.ended(process, 0)
        reasons = [event.reason for event in rig.events(TrialRetried)]
        lost = [reason for reason in reasons if reason in (NODE_LOST, WORKER_LOST)]
        return unless(len(lost) >= 3, f"not every lost node is on record: {reasons}")


class _Nodes:
    """The nodes that trials run on, one core each."""

    def __init__(self, rig: Rig):
        self._rig = rig
        self._running: list[subprocess.Popen[bytes]] = []

    def add(self) -> None:
        """Start another; Ray takes it in when it is up."""
        self._running.append(_ray_start(self._rig, f"--address={self._rig.address}", "--num-cpus=1"))

    def replace(self, pid: int, doing: str) -> None:
        """SIGKILL the node that a worker is on, with all on it, and start another."""
        node = next((node for node in self._running if _started_by(node, pid)), None)
        if node is None:
            raise Missed(f"the worker {doing} was gone before its node was killed")
        self._rig.say(f"killing a node {doing}")
        self._running.remove(node)
        self._rig.kill_tree(node)
        self.add()

    def await_nodes(self, count: int) -> None:
        """Wait until Ray knows so many nodes, the head counted."""
        newest, address = self._running[-1], str(self._rig.address)
        waiting = self._rig.start([sys.executable, "-P", "-m", __spec__.name, address, str(count)])
        self._rig.until(lambda: waiting.poll() is not None or newest.poll() is not None, f"{count} nodes")
        if waiting.poll() != 0:
            raise Missed("a node of Ray did not start")

    def kill(self) -> None:
        """End all of them."""
        for node in self._running:
            self._rig.kill_tree(node)


def _started_by(node: subprocess.Popen[bytes], pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return any(child.pid == pid for child in psutil.Process(node.pid).children(recursive=True))
    return False


@contextmanager
def _cluster(rig: Rig) -> Iterator[_Nodes]:
    """A head that runs no trials, and two nodes for one trial each. The sweep is told to run there."""
    rig.say("starting a cluster of three nodes")
    temporary = Path(tempfile.mkdtemp(prefix="fs-"))  # short: it holds unix sockets
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        # It listens on the network: nobody else may use it.
        rig.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        port, client = _free_ports(2)
        head = _ray_start(
            rig, "--head", f"--port={port}", f"--ray-client-server-port={client}", "--num-cpus=0",
            "--include-dashboard=false", f"--temp-dir={temporary}",
        )  # fmt: skip
        stack.callback(rig.kill_tree, head)
        rig.address = f"{_own_ip()}:{port}"
        rig.until(lambda: _listens(rig.address), "Ray's head node", head)
        nodes = _Nodes(rig)
        stack.callback(nodes.kill)
        for count in (2, 3):  # one after the other: together they may take each other's ports
            nodes.add()
            nodes.await_nodes(count)
        yield nodes


def _ray_start(rig: Rig, *options: str) -> subprocess.Popen[bytes]:
    (agent,) = _free_ports(1)
    command = [
        sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block", *options,
        f"--dashboard-agent-listen-port={agent}", "--object-store-memory=80000000", "--disable-usage-stats",
        "--min-worker-port=0", "--max-worker-port=0",
    ]  # fmt: skip
    return rig.start(command, NODE_SETTINGS)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("", 0))
        return [probe.getsockname()[1] for probe in probes]


def _own_ip() -> str:
    import ray

    return ray.util.get_node_ip_address()


def _listens(address: str | None) -> bool:
    time.sleep(0.2)
    host, _, port = str(address).rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


def await_nodes(address: str, count: int) -> None:
    """Wait until a cluster has so many nodes."""
    import ray

    ray.init(address=address, log_to_driver=False)
    while sum(node["Alive"] for node in ray.nodes()) < count:
        time.sleep(0.5)


if __name__ == "__main__":
    await_nodes(sys.argv[1], int(sys.argv[2]))
