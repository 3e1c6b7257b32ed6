"""submit, status, logs and stop as a person types them."""

from __future__ import annotations

import json
import sys

import pytest
from flowsweep.platform.journal.journal import read
from flowsweep.trainables.data.makers import make_dataset

SWEEP = """\
name: typed
system: fidec
dataset: flowsweep/pointmaze-umaze-10k-v0
stages: {pretrain: {steps: 200}, refine: {steps: 100}}
space:
  refine.kl_radius: {low: 3.0e-4, high: 3.0e-2, log: true}
objective: {metric: refine/success_rate}
search: {trials: 2}
seeds: {tune: [0], test: [1000]}
evaluation: {episodes: 2}
confirm: {top: 1, episodes: 2}
"""


@pytest.fixture
def sweep(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    return str(file)


@pytest.fixture
def driver(tmp_path):
    """Stands where the cluster's Python would: shows that it was started, and how."""
    script = tmp_path / "driver"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nprint('started with', *sys.argv[3:], open('sweep.yaml').read())\n"
    )
    script.chmod(0o755)
    return str(script)


def test_a_sweep_is_submitted_followed_and_looked_up(flowsweep, head, sweep, driver, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.setenv("FLOWSWEEP_ADDRESS", head.url)
    settings = ("--name", "renamed", "--set", "search.trials=3", "--python", driver, "--wait", "0")
    done = json.loads(flowsweep("submit", sweep, *settings, "--json").out)
    assert (done["sweep"], done["address"]) == ("renamed", head.url)
    followed = flowsweep("logs", "renamed", "--follow")
    assert followed.code == 0, followed
    assert "started with take-up sweep.yaml name: renamed" in followed.out
    assert "search:\n  trials: 3" in followed.out
    assert flowsweep("logs", done["job"]).out.count("started with") == 1
    assert json.loads(flowsweep("status", "renamed", "--json").out)["status"] == "succeeded"
    assert done["job"] in flowsweep("status").out
    assert "already succeeded" in flowsweep("stop", "renamed").out

    resumed = flowsweep("submit", sweep, *settings, "--resume")
    assert "flowsweep attach renamed" in resumed.out
    assert "started with resume renamed" in flowsweep("logs", "renamed", "--follow").out


def test_a_failed_job_makes_following_it_fail(flowsweep, head, sweep, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    there = ("--address", head.url, "--python", "/nowhere/python")
    assert flowsweep("submit", sweep, *there, "--wait", "0").code == 0
    assert flowsweep("logs", "typed", "--follow", "--address", head.url).code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("status", "--address", "http://127.0.0.1:1"), 4, "no cluster answers"),
        (("status", "--address", "http://192.0.2.7:8265"), 3, "--allow-insecure"),
        (("status",), 2, "--address: is required"),
        (("logs", "x", "--address", "auto"), 2, "http://HOST:8265"),
    ],
)
def test_mistakes_end_with_a_message_and_their_own_exit_code(flowsweep, arguments, code, said):
    ended = flowsweep(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in " ".join(ended.err.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "search.trails=3"), "search.trails"),
        (("--set", "system=fidek"), "fidec"),
        (("--env", "COLOUR"), "--env"),
    ],
)
def test_a_mistake_in_the_sweep_never_reaches_the_cluster(flowsweep, sweep, arguments, said):
    ended = flowsweep("submit", sweep, "--address", "http://127.0.0.1:1", *arguments)
    assert ended.code == 2, ended
    assert said in ended.err


def test_an_unknown_job_is_named_and_so_is_a_wrong_token(flowsweep, head, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    unknown = flowsweep("status", "nobody", "--address", head.url)
    assert (unknown.code, "no such job or sweep" in unknown.err) == (2, True)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    refused = flowsweep("stop", "nobody", "--address", head.url)
    assert (refused.code, "does not accept the token" in refused.err) == (3, True)


@pytest.mark.slow
def test_a_real_sweep_runs_to_its_report_on_the_cluster(flowsweep, head, sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.setenv("FLOWSWEEP_ADDRESS", head.url)
    home, minari = tmp_path / "home", tmp_path / "minari"
    monkeypatch.setenv("FLOWSWEEP_HOME", str(home))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(minari))
    make_dataset("pointmaze-umaze", steps=10_000)
    there = ("--home", str(home), "--env", f"MINARI_DATASETS_PATH={minari}", "--python", sys.executable)
    assert flowsweep("submit", sweep, *there).code == 0
    followed = flowsweep("logs", "typed", "--follow")
    assert followed.code == 0, followed.out
    ends = [
        fact.event
        for fact in read(home / "sweeps" / "typed" / "journal.jsonl")
        if fact.event.kind == "trial_ended"
    ]
    assert [end.status for end in ends] == ["finished"] * 3  # two searched, one confirmed
    assert (home / "sweeps" / "typed" / "report.html").stat().st_size > 10_000
    again = flowsweep("submit", sweep, *there)
    assert again.code == 0
    followed = flowsweep("logs", "typed", "--follow")
    assert (followed.code, "typed is on record here; going on with it" in followed.out) == (0, True)
    changed = flowsweep("submit", sweep, *there, "--set", "search.trials=3", "--wait", "120")
    assert (changed.code, "search.trials: 2 there, 3 here" in changed.err) == (3, True)
