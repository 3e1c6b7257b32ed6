"""What one more node costs a sweep's driver and Ray's head, on 1, 2, 4 and 8 nodes of this machine.

    python benchmarks/cluster_scale.py --nodes 1 2 4 8

Each rig runs two sweeps whose trials only sleep. *Short* trials, of a second, show what a trial costs: to propose, to place, to
record, to end. *Long* ones, one a node, show what a trial costs that merely runs and reports, about once a second. Processor
time is counted from the first trial placed to the last one ended: starting is not in it. What nodes wait for each other is not
in it either, since sleeping takes no core; on a machine with other work the rates are lower bounds, the processor times are not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import yaml
from flowsweep.cluster import rig_processes
from flowsweep.platform.journal.journal import read
from flowsweep.platform.paths import Home
from flowsweep.trainables.tune import REPORTS_PER_S

COMMAND = [sys.executable, "-m", "flowsweep.platform.cli"]
STEPS = 20
HEADER = (
    "| nodes | trials | how many | per minute | driver CPU-ms per trial | per trial-second | per fact | "
    "head CPU-ms per second | driver MiB |\n|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Load:
    """One sweep on one rig.

    Attributes:
        trial_s: seconds that all its trials run, together.
        window_s: from the first trial placed to the last one ended.
        driver_cpu_s, head_cpu_s: processor time within; of Ray's own processes on the head node, its worker left out.
        driver_mib: resident size of the driver at the end.
        facts: recorded meanwhile.
    """

    nodes: int
    kind: str
    trials: int
    trial_s: float
    window_s: float
    driver_cpu_s: float
    head_cpu_s: float
    driver_mib: float
    facts: int


def main() -> None:
    """Run both sweeps on every rig, print a table and what it comes to."""
    options = arguments()
    loads: list[Load] = []
    print(HEADER)
    for nodes in options.nodes:
        with tempfile.TemporaryDirectory() as folder:
            loads += on_rig(nodes, options, Path(folder))
        for load in loads[-2:]:
            print(row(load), flush=True)
    tell(loads)
    if options.json:
        options.json.write_text(json.dumps([asdict(load) for load in loads], indent=1) + "\n")


def on_rig(nodes: int, options: argparse.Namespace, folder: Path) -> list[Load]:
    """Both sweeps on a rig of so many nodes."""
    home = Home(folder / "home")
    variables = {**os.environ, "FLOWSWEEP_HOME": str(home.root), "MLFLOW_DISABLE_TELEMETRY": "true"}
    rig = [*COMMAND, "cluster", "rig"]
    subprocess.run([*rig, "--nodes", str(nodes)], env=variables, check=True, capture_output=True)
    try:
        short = sweep("short", options.trials_per_node * nodes, options.short_s)
        long = sweep("long", nodes, options.long_s)
        return [
            measured(nodes, short, options.short_s, home, variables),
            measured(nodes, long, options.long_s, home, variables),
        ]
    finally:
        subprocess.run([*rig, "down"], env=variables, check=True, stdout=subprocess.DEVNULL)


def sweep(kind: str, trials: int, trial_s: float) -> dict:
    """A sweep whose trials sleep so long."""
    return {
        "name": kind,
        "system": "rehearsal",
        "dataset": "rehearsal/points",
        "stages": {"pretrain": {"steps": 1}, "refine": {"steps": STEPS, "pause_s": trial_s / STEPS}},
        "objective": {"metric": "refine/return"},
        "space": {"refine.rate": {"type": "real", "low": 0.01, "high": 1.0, "log": True}},
        "search": {"sampler": "random", "trials": trials},
        "stop": {"rule": "none"},
        "seeds": {"tune": [0], "test": [1]},
        "evaluation": {"episodes": 1},
        "confirm": {"top": 0},
    }


def measured(nodes: int, spec: dict, trial_s: float, home: Home, variables: dict[str, str]) -> Load:
    """Run a sweep and look at its driver and at the head meanwhile."""
    name, journal = spec["name"], home.sweep(spec["name"]).journal
    file = home.root.parent / f"{name}.yaml"
    file.write_text(yaml.safe_dump(spec))
    words = [*COMMAND, "cluster", "rig", "exec", *COMMAND, "run", str(file), "--address", "auto", "--quiet"]
    process = subprocess.Popen(words, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    driver, head = psutil.Process(process.pid), head_processes(home)
    wait(process, lambda: kinds(journal, "trial_placed") >= 1)
    before = cpu_s([driver]), cpu_s(head)
    wait(process, lambda: kinds(journal, "trial_ended") >= spec["search"]["trials"])
    after, mib = (cpu_s([driver]), cpu_s(head)), driver.memory_info().rss / 2**20
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"the sweep ended with {process.returncode}:\n{said.decode()[-2000:]}")
    facts = list(read(journal))
    began = [fact.time for fact in facts if fact.event.kind == "trial_placed"]
    ended = [fact.time for fact in facts if fact.event.kind == "trial_ended"]
    return Load(
        nodes, name, len(ended), len(ended) * trial_s, ended[-1] - began[0], after[0] - before[0],
        after[1] - before[1], mib, sum(began[0] <= fact.time <= ended[-1] for fact in facts),
    )  # fmt: skip


def head_processes(home: Home) -> list[psutil.Process]:
    """Ray's own processes on the head node."""
    mark = json.loads((home.root / "rig" / "rig.json").read_text())["mark"]
    names = ("gcs_server", "raylet", "dashboard", "Dashboard", "RuntimeEnvAgent", "monitor")
    found = rig_processes.marked(mark, "node-1")
    return [one for one in found if any(name in " ".join(one.cmdline()) for name in names)]


def cpu_s(processes: list[psutil.Process]) -> float:
    """Processor seconds of processes that still run."""
    return sum(
        times.user + times.system for one in processes if one.is_running() for times in [one.cpu_times()]
    )


def kinds(journal: Path, kind: str) -> int:
    """How many facts of a kind are on record; cheap, since the driver must not be disturbed."""
    return journal.read_bytes().count(f'"kind":"{kind}"'.encode()) if journal.exists() else 0


def wait(process: subprocess.Popen, condition) -> None:
    """Look a few times a second until a condition holds."""
    while not condition():
        if process.poll() is not None:
            raise SystemExit(f"the sweep ended early:\n{process.communicate()[1].decode()[-2000:]}")
        time.sleep(0.25)


def row(load: Load) -> str:
    """One line of the table."""
    return (
        f"| {load.nodes} | {load.kind} | {load.trials} | {60 * load.trials / load.window_s:.1f} | "
        f"{1000 * load.driver_cpu_s / load.trials:.0f} | {1000 * load.driver_cpu_s / load.trial_s:.1f} | "
        f"{1000 * load.driver_cpu_s / load.facts:.1f} | {1000 * load.head_cpu_s / load.window_s:.0f} | {load.driver_mib:.0f} |"
    )


def tell(loads: list[Load]) -> None:
    """What the largest rig's figures come to for many GPUs, were they the same there."""
    short = max((load for load in loads if load.kind == "short"), key=lambda load: load.nodes)
    long = max((load for load in loads if load.kind == "long"), key=lambda load: load.nodes)
    idle = min((load for load in loads if load.kind == "long"), key=lambda load: load.nodes)
    fixed, each = idle.driver_cpu_s / idle.window_s, 0.0
    if long.nodes > idle.nodes:
        more = long.trial_s / long.window_s - idle.trial_s / idle.window_s
        each = max(0.0, (long.driver_cpu_s / long.window_s - fixed) / more)
        fixed -= each * idle.trial_s / idle.window_s
    per_trial = max(0.0, short.driver_cpu_s - (fixed + each) * short.window_s) / short.trials
    print(
        f"\ndriver: {1000 * fixed:.0f} ms of processor time a second whatever runs, {1000 * each:.2f} ms a second for each "
        f"running trial, at most {1000 * per_trial:.0f} ms for each trial"
    )
    for minutes in (1, 10, 60):
        share = fixed + REPORTS_PER_S * each + 1000 * per_trial / (60 * minutes)
        print(f"1,000 trials at once of {minutes} min each: {100 * share:.0f} % of one core")


def arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--trials-per-node", type=int, default=15, help="short trials for each node")
    parser.add_argument("--short-s", type=float, default=1.0)
    parser.add_argument("--long-s", type=float, default=40.0)
    parser.add_argument("--json", type=Path, help="write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
