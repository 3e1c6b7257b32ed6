"""A file of the user's own travels with the sweep that names it, and with it the modules beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from flowsweep.cluster import preflight
from flowsweep.cluster.ordering import Wishes, ordered
from flowsweep.cluster.profiles import Profile
from flowsweep.platform.journal.journal import read

TRAIN = """
from dataclasses import dataclass
from helper import shrunk

@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    steps: int = 10

def train(config: Config, report):
    x = 10.0
    for step in range(config.steps):
        x = shrunk(x, config.lr)
        report(step, loss=x * x)
"""
SWEEP = """
system: ./code/train.py:train
space: {lr: {low: 0.01, high: 0.5}}
objective: {metric: loss, direction: minimize}
search: {trials: 2}
seeds: {test: [7]}
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(TRAIN)
    (tmp_path / "code" / "helper.py").write_text("def shrunk(x, rate):\n    return x - rate * x\n")
    (tmp_path / "descent.yaml").write_text(SWEEP)
    return tmp_path / "descent.yaml"


@pytest.mark.parametrize(
    ("resume", "arguments"),
    [(False, ("take-up", "sweep.yaml")), (True, ("resume", "descent", "./train.py:train"))],
)
def test_the_order_names_the_file_where_it_will_lie(sweep, resume, arguments):
    profile = Profile(address="https://head:8265")
    with ordered(Wishes(str(sweep), resume=resume), profile) as (order, unchecked):
        assert (order.name, order.arguments, unchecked) == ("descent", arguments, "")
        assert order.content["system"] == "./train.py:train"
        assert order.code
        assert [module.inside for module in order.code.modules] == ["train.py", "helper.py"]


def test_the_cluster_goes_on_with_the_code_that_came_along(sweep, tmp_path, monkeypatch):
    became: list[list[str]] = []
    monkeypatch.setattr(preflight.os, "execv", lambda python, command: became.append(command[3:]))
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(preflight, "recorded_difference", lambda spec, paths: [])
    preflight.carry_out(["take-up", str(sweep)])
    assert became == [["resume", "descent", "--code", "./code/train.py:train", "--address", "auto"]]


@pytest.mark.slow
def test_a_function_is_searched_on_a_real_cluster(flowsweep, head, sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.setenv("FLOWSWEEP_ADDRESS", head.url)
    there = ("--home", str(tmp_path / "home"), "--python", sys.executable)
    assert flowsweep("submit", str(sweep), *there).code == 0
    followed = flowsweep("logs", "descent", "--follow")
    assert followed.code == 0, followed.out
    facts = list(read(tmp_path / "home" / "sweeps" / "descent" / "journal.jsonl"))
    ends = [fact.event.status for fact in facts if fact.event.kind == "trial_ended"]
    assert ends == ["finished"] * 3
    assert flowsweep("submit", str(sweep), *there).code == 0
    followed = flowsweep("logs", "descent", "--follow")
    assert (followed.code, "going on with it" in followed.out) == (0, True), followed.out
