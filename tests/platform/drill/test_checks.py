"""The checks of a drill see what they are there to see."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from flowsweep.platform.drill.checks import account, lost, study_differs
from flowsweep.platform.drill.tracker import tracker_differs
from flowsweep.platform.paths import Home, SweepPaths
from flowsweep.platform.tracking.tracker import catch_up


@pytest.fixture
def calm(walked) -> SweepPaths:
    """A sweep of one trial that was left alone."""
    return walked("calm", "t0000").sweep("calm")


def disturbed(calm: SweepPaths, change: Callable[[list[dict]], list[dict]]) -> SweepPaths:
    """A copy of a sweep with another record."""
    paths = SweepPaths(calm.root.with_name("disturbed"))
    shutil.copytree(calm.root, paths.root)
    facts = [json.loads(line) for line in calm.journal.read_text().splitlines()]
    numbered = [{**fact, "seq": seq} if "seq" in fact else fact for seq, fact in enumerate(change(facts))]
    paths.journal.write_text("".join(json.dumps(fact) + "\n" for fact in numbered))
    return paths


def place(facts: list[dict], kind: str, which: int = 0) -> int:
    return [at for at, fact in enumerate(facts) if fact["event"]["kind"] == kind][which]


def without(kind: str, which: int = 0) -> Callable[[list[dict]], list[dict]]:
    return lambda facts: [fact for at, fact in enumerate(facts) if at != place(facts, kind, which)]


def twice(kind: str, which: int = 0) -> Callable[[list[dict]], list[dict]]:
    return lambda facts: [
        each for at, fact in enumerate(facts) for each in [fact] * (1 + (at == place(facts, kind, which)))
    ]


def a_bit_more(facts: list[dict]) -> list[dict]:
    lanes = facts[place(facts, "evaluated", -1)]["event"]["metrics"]["return"]
    lanes[0] = math.nextafter(lanes[0], math.inf)
    return facts


def another_ending(facts: list[dict]) -> list[dict]:
    facts[place(facts, "trial_ended")]["event"]["status"] = "failed"
    return facts


def another_trial(facts: list[dict]) -> list[dict]:
    proposed = facts[place(facts, "trial_proposed")]
    return [
        *facts,
        {**proposed, "trial": "t0001", "event": {**proposed["event"], "params": {"tune.rate": 0.5}}},
    ]


def test_a_sweep_equals_itself(calm):
    assert account(calm).points > 20
    assert lost(disturbed(calm, lambda facts: facts), account(calm)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("evaluated"), "never reported tune/return (evaluated) at step 10 of seed 0"),
        (without("progress"), "nobody reported base/loss (progress)"),
        (twice("progress", -1), "reported tune/loss (progress) at step 40 of seed 0 2 times"),
        (twice("trial_ended"), "t0000 ended 2 times"),
        (without("trial_ended"), "t0000 ended as []"),
        (a_bit_more, "reported tune/return (evaluated) at step 40 of seed 0 as"),
        (another_ending, "t0000 ended as [('failed', "),
        (another_ending, "the best is None"),
        (another_trial, "tried too often, or never asked for"),
        (lambda facts: [facts[0], {"nonsense": 1}, *facts[1:]], "the journal cannot be read"),
    ],
)
def test_what_is_lost_doubled_or_changed_is_said(calm, change, said):
    found = lost(disturbed(calm, change), account(calm))
    assert any(said in one for one in found), found


def test_until_the_end_things_may_be_missing_but_not_wrong(calm):
    half = disturbed(calm, lambda facts: facts[: len(facts) // 2])
    assert lost(half, account(calm), whole=False) == []
    assert lost(half, account(calm)) != []
    shutil.rmtree(half.root)
    assert lost(disturbed(calm, a_bit_more), account(calm), whole=False) != []


def test_a_study_that_says_something_else_is_noticed(calm):
    study = optuna.create_study(storage=calm.study, study_name=calm.name, direction="maximize")
    assert study_differs(calm) == ["the study has t0000 0 times"]
    trial = study.ask()
    trial.set_user_attr("trial", "t0000")
    assert any("RUNNING, by the journal it is COMPLETE" in one for one in study_differs(calm))
    for step, value in scores(calm).items():
        trial.report(value, step)
    study.tell(trial, scores(calm)[40])
    assert study_differs(calm) == []
    study.ask()
    assert study_differs(calm) == ["the study has trial 1 (None), the journal does not"]


def scores(paths: SweepPaths) -> dict[int, float]:
    facts = [json.loads(line) for line in paths.journal.read_text().splitlines()]
    return {
        f["event"]["step"]: f["event"]["metrics"]["return"][0]
        for f in facts
        if f["event"]["kind"] == "evaluated"
    }


def test_a_tracker_that_says_something_else_is_noticed(calm, tmp_path: Path):
    from mlflow import MlflowClient

    home = Home(tmp_path / "home")
    catch_up(calm, home.mlflow_uri, "drilled", home.mlflow_artifacts)
    assert tracker_differs(calm, home.mlflow_uri) == []
    client = MlflowClient(home.mlflow_uri)
    experiment = client.get_experiment_by_name("drilled")
    runs = {r.data.tags["flowsweep.run"]: r for r in client.search_runs([experiment.experiment_id])}
    trial = runs["trial:t0000"]
    client.log_metric(trial.info.run_id, "tune/return", 7.0, step=40)
    client.set_tag(trial.info.run_id, "flowsweep.status", "failed")
    client.create_run(experiment.experiment_id, tags={**trial.data.tags, "flowsweep.run": "trial:t0000"})
    found = " | ".join(tracker_differs(calm, home.mlflow_uri))
    for said in ("5 points of tune/return", "t0000 as failed", "2 runs for trial:t0000"):
        assert said in found
