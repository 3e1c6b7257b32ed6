"""What a rig's nodes and a tracking server take before anything is done with them: start and memory.

    python benchmarks/footprint.py rig [--nodes 3]
    python benchmarks/footprint.py tracker

Each is started by its own command under a home that is deleted at the end. Memory is the proportional set size (pages
that several processes share are divided among them). Processor time is that of the command, of all that it has started, and
of what these have started and ended. Elapsed time says nothing on a machine with other work.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from flowsweep.cluster import rig_processes

CLUSTER = [sys.executable, "-m", "flowsweep.platform.cli", "cluster"]
SETTLE_S = 10.0


def main() -> None:
    """Start, measure, end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["rig", "tracker"])
    parser.add_argument("--nodes", type=int, default=3, help="of the rig")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # PostgreSQL, started by root, runs as another user.
        home = Path(folder) / "home"
        environment = {**os.environ, "FLOWSWEEP_HOME": str(home)}
        try:
            rig(home, options.nodes, environment) if options.what == "rig" else tracker(environment)
        finally:
            subprocess.run([*CLUSTER, options.what, "down"], env=environment, stdout=subprocess.DEVNULL)


def rig(home: Path, nodes: int, environment: Mapping[str, str]) -> None:
    """A rig's nodes, one line each."""
    command_s, elapsed_s = started(["rig", "--nodes", str(nodes)], environment)
    mark = json.loads((home / "rig" / "rig.json").read_text())["mark"]
    every_s = command_s + cpu_s(rig_processes.marked(mark))
    print(f"rig of {nodes} nodes: {every_s:.1f} CPU-s, {elapsed_s:.0f} s elapsed until it is up")
    time.sleep(SETTLE_S)
    for number in range(1, nodes + 1):
        found = rig_processes.marked(mark, f"node-{number}")
        print(f"node-{number}: {pss_mib(found):.0f} MiB in {len(found)} processes")


def tracker(environment: Mapping[str, str]) -> None:
    """A tracking server of one worker with a database of its own, started for the first time and again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for which in ("first", "second"):
        command_s, elapsed_s = started(["tracker", "up", "--port", str(port)], environment)
        found = servers(environment)
        print(f"{which} start: {command_s + cpu_s(found):.1f} CPU-s, {elapsed_s:.0f} s elapsed")
        time.sleep(SETTLE_S)
        print(f"memory: {pss_mib(servers(environment)):.0f} MiB")
        subprocess.run([*CLUSTER, "tracker", "down"], env=environment, check=True, stdout=subprocess.DEVNULL)


def servers(environment: Mapping[str, str]) -> list[psutil.Process]:
    """All processes of the tracking server."""
    said = subprocess.run(
        [*CLUSTER, "tracker", "status", "--json"], env=environment, check=True, capture_output=True
    )
    roots = [psutil.Process(pid) for pids in json.loads(said.stdout)["processes"].values() for pid in pids]
    family = {process.pid: process for root in roots for process in [root, *root.children(recursive=True)]}
    return list(family.values())


def started(words: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Run a command that leaves servers behind; CPU-seconds of itself and what it waited for, and elapsed ones."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*CLUSTER, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return spent_s, time.monotonic() - began


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Processor seconds of processes that still run, and of children they have waited for."""
    return sum(sum(one.cpu_times()[:4]) for one in processes)


def pss_mib(processes: Sequence[psutil.Process]) -> float:
    """Proportional set size of all of them."""
    return sum(one.memory_full_info().pss for one in processes) / 2**20


if __name__ == "__main__":
    main()
