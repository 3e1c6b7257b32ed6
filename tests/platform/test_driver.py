"""Whole sweeps of the toy system through the command line, with real Ray, Optuna and MLflow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import pyarrow.parquet as parquet
import pytest
from flowsweep.platform.journal.events import Entry
from flowsweep.platform.journal.journal import read
from flowsweep.platform.paths import Home
from flowsweep.platform.sweep.yaml_file import dump_yaml

FLOWSWEEP = [sys.executable, "-m", "flowsweep.platform.cli"]


@pytest.fixture(scope="module")
def home(toy_system, tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("sweeps"))


def environment(home: Home) -> dict[str, str]:
    return {**os.environ, "FLOWSWEEP_HOME": str(home.root)}


def flowsweep(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FLOWSWEEP, *arguments], env=environment(home), capture_output=True, text=True, timeout=240
    )


def sweep_file(home: Home, sweep: dict, **changes) -> str:
    values = {**sweep, **changes}
    path = home.root / f"{values['name']}.yaml"
    path.write_text(dump_yaml(values))
    return str(path)


def facts(home: Home, name: str, *kinds: str) -> list[Entry]:
    return [fact for fact in read(home.sweep(name).journal) if not kinds or fact.event.kind in kinds]


@pytest.fixture(scope="module")
def finished(home: Home, toy_sweep_values) -> tuple[Home, str]:
    """One sweep from end to end; many tests look at what it left."""
    done = flowsweep(home, "run", sweep_file(home, toy_sweep_values, name="whole"))
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done.stdout


def test_every_trial_is_searched_then_the_best_are_confirmed_beside_the_baseline(finished):
    home, output = finished
    phases = Counter(fact.event.phase for fact in facts(home, "whole", "trial_proposed"))
    assert phases == {"search": 6, "confirm": 2, "baseline": 1} or phases == {
        "search": 6,
        "confirm": 1,
        "baseline": 1,
    }
    assert len(facts(home, "whole", "trial_ended")) == sum(phases.values())
    assert "Confirmation (test seeds, never seen by the search)" in output


def test_shared_stages_were_computed_once_per_seed(finished):
    home, _ = finished
    computed = Counter(fact.event.key for fact in facts(home, "whole", "stage_computed"))
    assert len(computed) == 4
    assert set(computed.values()) == {1}


def test_confirmation_uses_only_seeds_the_search_has_not_seen(finished):
    home, _ = finished
    for fact in facts(home, "whole", "trial_proposed"):
        assert fact.event.seeds == ((0, 1) if fact.event.phase == "search" else (10, 11))


def test_optuna_holds_every_outcome_as_what_it_was(finished):
    home, _ = finished
    study = optuna.load_study(study_name="whole", storage=home.sweep("whole").study)
    endings = {fact.trial: fact.event for fact in facts(home, "whole", "trial_ended")}
    assert len(study.trials) == 6
    for trial in study.trials:
        ending = endings[trial.user_attrs["trial"]]
        assert trial.state.name == {"finished": "COMPLETE", "pruned": "PRUNED"}[ending.status]
        assert trial.value == ending.value


def test_mlflow_holds_what_the_journal_holds(finished):
    from mlflow import MlflowClient

    home, _ = finished
    client = MlflowClient(home.mlflow_uri)
    experiment = client.get_experiment_by_name("flowsweep/toy")
    runs = {
        run.data.tags.get("flowsweep.trial"): run for run in client.search_runs([experiment.experiment_id])
    }
    for fact in facts(home, "whole", "trial_ended"):
        run = runs[fact.trial]
        assert run.data.tags["flowsweep.status"] == fact.event.status
        scored = [f for f in facts(home, "whole", "evaluated") if f.trial == fact.trial]
        stage = scored[-1].event.stage
        history = client.get_metric_history(run.info.run_id, f"{stage}/return")
        assert {point.step: point.value for point in history} == {
            f.event.step: pytest.approx(sum(f.event.metrics["return"]) / 2) for f in scored
        }


def test_tables_are_parquet_and_agree_with_the_journal(finished):
    home, _ = finished
    trials = parquet.read_table(home.sweep("whole").results / "trials.parquet").to_pylist()
    endings = {fact.trial: fact.event.status for fact in facts(home, "whole", "trial_ended")}
    assert {row["trial"]: row["status"] for row in trials} == endings


def test_a_report_page_is_left(finished):
    home, output = finished
    assert home.sweep("whole").report.read_text().startswith("<!")
    assert "could not be written" not in output


def test_a_name_that_exists_is_refused_and_says_what_to_do(finished, toy_sweep_values):
    home, _ = finished
    before = len(facts(home, "whole"))
    done = flowsweep(home, "run", sweep_file(home, toy_sweep_values, name="whole"))
    assert done.returncode == 3
    assert "flowsweep resume whole" in done.stderr
    assert "--name" in done.stderr
    assert len(facts(home, "whole")) == before


def test_the_best_trial_is_reproduced_to_the_last_bit(finished):
    home, _ = finished
    done = flowsweep(home, "rerun", "whole", "--json")
    verdict = json.loads(done.stdout)
    assert done.returncode == 0
    assert verdict["verdict"] == "reproduced"
    assert verdict["equal"] == verdict["compared"] > 10


def test_records_can_be_read_by_people_and_scripts(finished):
    home, _ = finished
    assert "whole" in flowsweep(home, "list").stdout
    assert json.loads(flowsweep(home, "list", "--json").stdout)[0]["status"] == "finished"
    shown = json.loads(flowsweep(home, "show", "whole", "--json").stdout)
    assert len(shown["trials"]) == len(facts(home, "whole", "trial_proposed"))
    best = json.loads(flowsweep(home, "best", "whole", "--json").stdout)
    assert all(Path(policy).is_dir() for policy in best["policies"])


def test_an_unknown_sweep_or_trial_is_named_with_the_nearest(finished):
    home, _ = finished
    done = flowsweep(home, "show", "wohle")
    assert (done.returncode, "Did you mean `whole`?" in done.stderr) == (2, True)
    done = flowsweep(home, "rerun", "whole", "--trial", "t9")
    assert (done.returncode, "no such trial" in done.stderr) == (2, True)


SLOW = {
    "stages": {"tune": {"steps": 150, "pause_s": 0.02}},
    "search": {"trials": 2},
    "stop": {"rule": "none"},
    "seeds": {"tune": [0], "test": [10]},
    "evaluation": {"episodes": 2, "every_steps": 50},
    "confirm": {"top": 1, "episodes": 2},
}


QUICK = {"stop": {"rule": "none"}, "seeds": {"tune": [0], "test": [10]}, "confirm": {"top": 1, "episodes": 2}}


def interrupted(home: Home, file: str, after: str, signals: int) -> tuple[int, str]:
    """Run a sweep, send SIGINT so many times once a line holds ``after``; exit code and output."""
    process = subprocess.Popen(
        [*FLOWSWEEP, "run", file], env=environment(home), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if after in line:
            for _ in range(signals):
                process.send_signal(signal.SIGINT)
            after = "\0"
    return process.wait(timeout=120), "".join(said)


def objectives(home: Home, name: str) -> dict[str, float]:
    return {f.trial: f.event.value for f in facts(home, name, "trial_ended") if f.event.status == "finished"}


@pytest.mark.parametrize("signals", [1, 2])
def test_a_sweep_stopped_by_ctrl_c_is_resumed_to_the_same_result(home, toy_sweep_values, signals):
    name = f"stopped-{signals}"
    file = sweep_file(home, toy_sweep_values, name=name, **SLOW)
    code, output = interrupted(home, file, "step 50/150", signals)
    assert code == 130
    assert f"flowsweep resume {name}" in output
    assert facts(home, name, "sweep_ended")[-1].event.status == "interrupted"
    assert not objectives(home, name)

    resumed = flowsweep(home, "resume", name)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert set(objectives(home, name)) >= {"t0000", "t0001"}
    scored = Counter(
        (f.trial, f.event.step) for f in facts(home, name, "evaluated") if f.event.stage == "tune"
    )
    assert set(scored.values()) == {1}, "a score was recorded twice"
    verdict = json.loads(flowsweep(home, "rerun", name, "--trial", "t0000", "--json").stdout)
    assert verdict["verdict"] == "reproduced"


def test_a_finished_sweep_is_extended_by_trials_and_keeps_its_history(home, toy_sweep_values):
    file = sweep_file(home, toy_sweep_values, **{**QUICK, "name": "extended", "search": {"trials": 1}})
    assert flowsweep(home, "run", file).returncode == 0
    before = facts(home, "extended")
    done = flowsweep(home, "extend", "extended", "--trials", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert facts(home, "extended")[: len(before)] == before
    searched = [f.trial for f in facts(home, "extended", "trial_proposed") if f.event.phase == "search"]
    assert searched == ["t0000", "t0001", "t0002"]
    fewer = flowsweep(home, "extend", "extended", "--trials", "2")
    assert (fewer.returncode, "already has 3 trials" in fewer.stderr) == (3, True)


def test_an_extension_may_not_change_what_trials_compute(finished):
    home, _ = finished
    done = flowsweep(home, "extend", "whole", "--set", "stages.base.steps=80")
    assert done.returncode == 3
    assert "stages.base.steps" in done.stderr
    assert "Start a new sweep" in done.stderr


def test_a_sweep_does_not_go_on_over_other_data(home, toy_sweep_values, monkeypatch):
    file = sweep_file(home, toy_sweep_values, **{**QUICK, "name": "moved", "search": {"trials": 1}})
    assert flowsweep(home, "run", file).returncode == 0
    monkeypatch.setenv("TOY_DATA_VERSION", "2")
    done = flowsweep(home, "extend", "moved", "--trials", "2")
    assert done.returncode == 3
    assert "dataset: has changed since the sweep began" in done.stderr


def test_failures_are_told_apart_and_do_not_stop_the_sweep(home, toy_sweep_values):
    space = {"tune.diverge_at": {"values": [5, 1000]}, "tune.fail_at": {"values": [7, 1000]}}
    fixed = [{"tune.diverge_at": d, "tune.fail_at": f} for d in (5, 1000) for f in (7, 1000)]
    file = sweep_file(
        home, toy_sweep_values, name="failing", space=space, search={"trials": 4, "fixed": fixed},
        stop={"rule": "none"}, confirm={"top": 0, "baselines": []},
    )  # fmt: skip
    done = flowsweep(home, "run", file)
    assert done.returncode == 0, done.stdout + done.stderr
    endings = {f.trial: (f.event.status, f.event.reason) for f in facts(home, "failing", "trial_ended")}
    assert endings["t0000"] == endings["t0001"] == ("diverged", "toy loss became non-finite at step 5")
    assert endings["t0002"] == (
        "failed",
        "RuntimeError: the toy broke, as asked (toy_system.py, line 97)",
    )
    assert endings["t0003"][0] == "finished"
    assert "the toy broke, as asked" in (home.sweep("failing").trials / "t0002" / "traceback.txt").read_text()
    assert "failed: RuntimeError" in done.stdout


def test_a_trial_whose_worker_is_killed_is_taken_up_again_and_nothing_is_doubled(home, toy_sweep_values):
    file = sweep_file(
        home, toy_sweep_values, name="killed", stages={"tune": {"die_once": str(home.root / "died")}},
        search={"trials": 1}, stop={"rule": "none"}, confirm={"top": 0, "baselines": []},
    )  # fmt: skip
    done = flowsweep(home, "run", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "t0000  resumed by process" in done.stdout
    assert len({fact.event.pid for fact in facts(home, "killed", "trial_placed")}) == 2
    assert [fact.event.step for fact in facts(home, "killed", "evaluated")] == [10, 20, 30, 40]
    assert json.loads(flowsweep(home, "rerun", "killed", "--json").stdout)["verdict"] == "reproduced"


def test_a_trial_that_loses_more_workers_than_it_may_is_given_up_with_the_reason(home, toy_sweep_values):
    file = sweep_file(
        home, toy_sweep_values, name="lost", stages={"tune": {"die_once": str(home.root / "lost")}},
        search={"trials": 1}, stop={"rule": "none"}, confirm={"top": 0, "baselines": []}, resources={"retries": 0},
    )  # fmt: skip
    done = flowsweep(home, "run", file)
    assert done.returncode == 1
    ended = facts(home, "lost", "trial_ended")
    assert [fact.event.status for fact in ended] == ["failed"]
    assert ended[0].event.reason.startswith("given up: ")


def test_a_tracker_that_does_not_answer_is_told_before_anything_starts(home, toy_sweep_values):
    file = sweep_file(home, toy_sweep_values, name="untracked", tracking={"uri": "http://127.0.0.1:9"})
    done = flowsweep(home, "run", file)
    assert done.returncode == 4
    assert "tracking.uri" in done.stderr
    assert not home.sweep("untracked").root.exists()


def test_too_few_resources_for_one_trial_are_told_before_anything_starts(home, toy_sweep_values):
    file = sweep_file(home, toy_sweep_values, name="greedy", resources={"cpus": 10_000})
    done = flowsweep(home, "run", file)
    assert done.returncode == 2
    assert "resources.cpus" in done.stderr
    assert not home.sweep("greedy").root.exists()
