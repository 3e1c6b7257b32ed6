"""Sweeps on a cluster of three nodes on this machine: nodes that die, are cut off, join; the head gone; two at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flowsweep.cluster.rig_network import why_no_namespaces
from flowsweep.platform.journal.events import Entry
from flowsweep.platform.journal.journal import read
from flowsweep.platform.paths import Home
from flowsweep.platform.sweep.yaml_file import dump_yaml

pytestmark = pytest.mark.slow
TOY = Path(__file__).parents[1] / "support" / "toy"
PATIENCE_S = 400.0

SWEEP = {
    "system": "toy",
    "dataset": "toy/points",
    "objective": {"metric": "tune/return"},
    "search": {"trials": 6, "sampler": "random"},
    "stop": {"rule": "none"},
    "seeds": {"tune": [0], "test": [10]},
    "evaluation": {"episodes": 2, "every_steps": 200},
    "stages": {"base": {"steps": 50, "pause_s": 0.02}, "tune": {"steps": 1000, "pause_s": 0.02}},
    "confirm": {"top": 0},
    "checkpoints": {"every_s": 2},
}


class Cluster:
    """A rig and the sweeps on it, as a user has them."""

    def __init__(self, root: Path):
        self.root, self.home = root, Home(root / "home")
        self.variables = {
            **{k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "FLOWSWEEP_ADDRESS"},
            "FLOWSWEEP_HOME": str(self.home.root), "PYTHONPATH": str(TOY), "MLFLOW_DISABLE_TELEMETRY": "true",
        }  # fmt: skip
        self.drivers: list[subprocess.Popen] = []

    def flowsweep(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "flowsweep.platform.cli", *arguments]
        done = subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def rig(self, *arguments: str) -> str:
        return self.flowsweep("cluster", "rig", *arguments)

    def sweep_file(self, name: str, **changes) -> str:
        file = self.root / f"{name}.yaml"
        file.write_text(dump_yaml({**SWEEP, "name": name, **changes}))
        return str(file)

    def drive(self, *arguments: str) -> subprocess.Popen:
        """Start a driver on the head, watched from here."""
        command = ["cluster", "rig", "exec", sys.executable, "-m", "flowsweep.platform.cli", *arguments]
        with open(self.root / f"driver-{len(self.drivers)}.log", "w") as log:
            self.drivers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "flowsweep.platform.cli", *command, "--address", "auto", "--quiet"],
                    env=self.variables, stdout=log, stderr=log,
                )
            )  # fmt: skip
        return self.drivers[-1]

    def run(self, name: str, **changes) -> subprocess.Popen:
        return self.drive("run", self.sweep_file(name, **changes))

    def facts(self, sweep: str, *kinds: str) -> list[Entry]:
        journal = self.home.sweep(sweep).journal
        return [f for f in read(journal) if not kinds or f.event.kind in kinds] if journal.exists() else []

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s, f"waited for {what}:\n{self.said()}"
            time.sleep(0.2)

    def said(self) -> str:
        return "\n".join(file.read_text()[-2000:] for file in sorted(self.root.glob("driver-*.log")))

    def running_on(self, sweep: str) -> dict[str, str]:
        """Where trials that have not ended were last placed."""
        where: dict[str, str] = {}
        for fact in self.facts(sweep, "trial_placed", "trial_ended", "trial_retried"):
            where.pop(str(fact.trial), None)
            if fact.event.kind == "trial_placed":
                where[str(fact.trial)] = fact.event.node.removeprefix("rig-")
        return where


def whole(facts: list[Entry], trials: int = 6) -> None:
    """Every trial has come to its end once, with every value once."""
    ended = [fact for fact in facts if fact.event.kind == "trial_ended"]
    assert sorted(f.event.status for f in ended) == ["finished"] * trials
    assert len({f.trial for f in ended}) == trials
    reported = [
        (f.trial, f.event.kind, f.event.stage, f.event.step, *f.event.seeds)
        for f in facts
        if f.event.kind in ("progress", "evaluated")
    ]
    assert len(reported) == len(set(reported))
    scored = {f.trial: [] for f in ended}
    for fact in facts:
        if fact.event.kind == "evaluated":
            scored[fact.trial].append(fact.event.step)
    assert all(steps == [200, 400, 600, 800, 1000] for steps in scored.values()), scored


def values(facts: list[Entry]) -> dict[str, float]:
    return {str(f.trial): f.event.value for f in facts if f.event.kind == "trial_ended"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    if why := why_no_namespaces():
        pytest.skip(f"no network namespaces here: {why}")
    found = Cluster(tmp_path_factory.mktemp("rig"))
    found.rig("--nodes", "3", "--gpus", "2")
    try:
        yield found
    finally:
        for driver in found.drivers:
            driver.kill()
            driver.wait()
        found.rig("down")


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> dict[str, float]:
    """What trials come to where nothing happens."""
    assert cluster.run("undisturbed").wait(PATIENCE_S) == 0, cluster.said()
    return values(cluster.facts("undisturbed"))


def test_trials_of_a_node_that_dies_move_and_continue_and_a_node_that_joins_is_used(
    cluster: Cluster, undisturbed
):
    def room() -> list[int]:
        return [fact.event.trials for fact in cluster.facts("moved", "capacity_changed")]

    driver = cluster.run("moved")
    cluster.until(lambda: len(cluster.facts("moved", "checkpoint")) > 4, "checkpoints")
    cluster.until(lambda: "node-2" in cluster.running_on("moved").values(), "a trial on node-2")
    lost = {trial for trial, node in cluster.running_on("moved").items() if node == "node-2"}
    cluster.rig("kill", "node-2")
    cluster.until(lambda: cluster.facts("moved", "trial_retried"), "the loss to be noticed")
    # Ray tells of the trial's end before it gives up the node; a node added in between would be a fourth.
    cluster.until(lambda: room() == [3, 2], "the node to be given up")
    added = json.loads(cluster.rig("add", "--json"))["node"]
    cluster.until(lambda: added in cluster.running_on("moved").values(), "a trial on the new node")
    assert driver.wait(PATIENCE_S) == 0, cluster.said()
    facts = cluster.facts("moved")
    whole(facts)
    assert {f.trial for f in facts if f.event.kind == "trial_retried"} == lost
    again = [f.event.step for f in facts if f.event.kind == "continued" and f.trial in lost]
    assert again, "it went on from its checkpoint"
    assert room() == [3, 2, 3]
    assert values(facts) == undisturbed, "equal to the last bit"
    cluster.rig("start", "node-2")


def test_a_node_that_is_cut_off_for_half_a_minute_loses_nothing(cluster: Cluster, undisturbed):
    driver = cluster.run("cut")
    cluster.until(lambda: "node-3" in cluster.running_on("cut").values(), "a trial on node-3")
    cluster.rig("cut", "node-3", "--for", "30s")
    assert driver.wait(PATIENCE_S) == 0, cluster.said()
    whole(cluster.facts("cut"))
    assert values(cluster.facts("cut")) == undisturbed, "equal to the last bit"


def test_a_node_whose_cut_was_never_mended_is_back_once_it_is_started_again(cluster: Cluster):
    cut = subprocess.Popen(
        [sys.executable, "-m", "flowsweep.platform.cli", "cluster", "rig", "cut", "node-3", "--for", "600s"],
        env=cluster.variables,
    )

    def state() -> str:
        nodes = json.loads(cluster.rig("status", "--json"))["nodes"]
        return next(node["state"] for node in nodes if node["name"] == "node-3")

    cluster.until(lambda: state() == "cut off", "the cut")
    cut.kill()
    cut.wait()
    assert state() == "cut off"
    cluster.rig("kill", "node-3")
    cluster.rig("start", "node-3")
    assert state() == "up"


def test_a_sweep_whose_head_dies_is_resumed_with_all_that_was_reported(cluster: Cluster, undisturbed):
    token = (cluster.home.root / "rig" / "token").read_text()
    address = json.loads(cluster.rig("status", "--json"))["dashboard"]
    cluster.variables |= {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "FLOWSWEEP_ADDRESS": address,
    }  # fmt: skip
    where = ["--home", str(cluster.home.root), "--python", sys.executable]
    cluster.flowsweep("submit", cluster.sweep_file("headless"), *where)
    cluster.until(lambda: len(cluster.facts("headless", "evaluated")) > 5, "scores")
    cluster.rig("kill-head")
    before = cluster.facts("headless")
    cluster.rig("restart-head")
    cluster.flowsweep("submit", cluster.sweep_file("headless"), *where, "--resume")
    cluster.until(lambda: cluster.facts("headless", "sweep_ended"), "the end")
    facts = cluster.facts("headless")
    assert facts[: len(before)] == before
    whole(facts)
    assert [f.event.kind for f in facts if f.event.kind.startswith("sweep_")] == [
        "sweep_started", "sweep_resumed", "sweep_ended",
    ]  # fmt: skip
    # What is proposed after a driver was lost need not be what would have been proposed.
    proposed = {f.trial for f in before if f.event.kind == "trial_proposed"}
    assert {t: v for t, v in values(facts).items() if t in proposed} == {
        t: v for t, v in undisturbed.items() if t in proposed
    }


def test_two_sweeps_share_nodes_as_they_are_told_and_what_they_pretrain(cluster: Cluster):
    nodes = len(json.loads(cluster.rig("status", "--json"))["nodes"])
    base = {"steps": 400, "pause_s": 0.02}
    changes = {"stages": {**SWEEP["stages"], "base": base}, "search": {"trials": 8, "sampler": "random"}}
    first = cluster.run("first", **changes)
    cluster.until(lambda: len(cluster.running_on("first")) == nodes, "the first to have all")
    second = cluster.run("second", **changes)
    cluster.until(lambda: len(cluster.running_on("second")) == nodes // 2, "the second to have its half")
    assert len(cluster.running_on("first")) <= nodes - nodes // 2
    cluster.flowsweep("share", "second", "--priority", "5", "--max-concurrent", str(nodes - 1))
    cluster.until(lambda: len(cluster.running_on("second")) == nodes - 1, "the second to have what it may")
    cluster.until(lambda: len(cluster.running_on("first")) <= 1, "the first to make room")
    assert second.wait(PATIENCE_S) == 0, cluster.said()
    cluster.until(
        lambda: (
            cluster.facts("first", "capacity_changed")[-1].event.trials == nodes or first.poll() is not None
        ),
        "the first to have all again",
    )
    assert first.wait(PATIENCE_S) == 0, cluster.said()
    for name in ("first", "second"):
        whole(cluster.facts(name), trials=8)
    computed = [f.event.key for name in ("first", "second") for f in cluster.facts(name, "stage_computed")]
    assert len(computed) == len(set(computed)) == 1
    room = [f.event.reason for f in cluster.facts("first", "trial_retried")]
    assert set(room) == {"it made room: fewer trials may run at once"}


def test_a_stage_with_other_needs_runs_where_they_are_met(cluster: Cluster):
    special = json.loads(cluster.rig("add", "--resource", "a100=1", "--label", "zone=b", "--json"))["node"]
    resources = {
        "labels": {"zone": "!b"},
        "stages": {"base": {"custom": {"a100": 1}, "labels": {"zone": "b"}}},
    }
    stages = {"base": {"steps": 60, "width": 1.5}, "tune": {"steps": 1000}}
    refused = cluster.run("nowhere", resources={"custom": {"h100": 1}})
    assert refused.wait(PATIENCE_S) == 2
    assert "which no node has" in cluster.said()
    driver = cluster.run("special", resources=resources, stages=stages)
    assert driver.wait(PATIENCE_S) == 0, cluster.said()
    facts = cluster.facts("special")
    whole(facts)
    assert len([f for f in facts if f.event.kind == "stage_computed"]) == 1
    assert f"rig-{special}" not in {f.event.node for f in facts if f.event.kind == "trial_placed"}
