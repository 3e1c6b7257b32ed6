"""A sweep that learns from an environment, or from problems, from the command line to rerun and export."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pyarrow.parquet as parquet
import pytest
from flowsweep.platform.journal.journal import read
from flowsweep.platform.paths import Home
from flowsweep.platform.sweep.yaml_file import dump_yaml
from flowsweep.trainables.exported import load_learner

SWEEPS = {
    "environment": {
        "system": "roamer",
        "environment": "meadow-v0",
        "objective": {"metric": "roam/return"},
        "constraints": ["roam/cost <= 3"],
    },
    "problem": {"system": "solver", "problem": "knot", "objective": {"metric": "solve/return"}},
}


@pytest.fixture(scope="module")
def homes(toy_system, tmp_path_factory) -> dict[str, Home]:
    """For each kind, a home in which such a sweep has run."""
    return {kind: Home(tmp_path_factory.mktemp(kind)) for kind in SWEEPS}


@pytest.fixture
def call(run, homes, monkeypatch):
    """Run the command line on the home of one kind."""

    def on(kind: str, *arguments: str) -> str:
        monkeypatch.setenv("FLOWSWEEP_HOME", str(homes[kind].root))
        code, out, err = run(*arguments)
        assert code == 0, err
        return out

    return on


@pytest.fixture(params=SWEEPS)
def kind(request, homes, call) -> str:
    """One kind after the other, its sweep run once."""
    kind, home = request.param, homes[request.param]
    if not home.sweep(kind).journal.exists():
        values = {
            "name": kind, **SWEEPS[kind], "search": {"trials": 2}, "seeds": {"tune": [0], "test": [10, 11]},
            "evaluation": {"episodes": 3}, "confirm": {"top": 1, "episodes": 3, "baselines": []},
        }  # fmt: skip
        file = home.root / "sweep.yaml"
        file.write_text(dump_yaml(values))
        call(kind, "run", str(file), "--quiet")
    return kind


def test_journal_lists_and_tables_carry_it_under_its_own_name(kind, homes, call):
    name, paths = SWEEPS[kind][kind], homes[kind].sweep(kind)
    started = next(fact for fact in read(paths.journal) if fact.event.kind == "sweep_started").event
    assert (started.source["kind"], started.source["name"], started.source["size"]) == (kind, name, 2)
    assert f"on {name}" in call(kind, "show", kind)
    (listed,) = json.loads(call(kind, "list", "--json"))
    assert (listed[kind], listed["dataset"]) == (name, "")
    table = parquet.read_table(paths.results / "trials.parquet")
    assert set(table.column(kind).to_pylist()) == {name}


def test_the_confirmation_is_scored_on_what_is_kept_for_it(kind, homes):
    facts = list(read(homes[kind].sweep(kind).journal))
    phases = {fact.trial: fact.event.phase for fact in facts if fact.event.kind == "trial_proposed"}
    shares = {
        (phases[str(fact.trial)], *fact.event.metrics["test_share"])
        for fact in facts
        if fact.event.kind == "evaluated"
    }
    assert shares == {("search", 0.0), ("confirm", 1.0, 1.0)}


def test_the_report_has_it_under_its_own_name(kind, homes):
    page = homes[kind].sweep(kind).report.read_text()
    assert f"the {kind} is small" in page
    assert kind.capitalize() in page
    assert "Dataset" not in page


def test_the_figures_of_the_report_can_be_had_as_files(kind, call, tmp_path: Path):
    written = call(kind, "report", kind, "--figures", str(tmp_path / "figures")).splitlines()[1:]
    assert sorted(map(Path, written)) == sorted((tmp_path / "figures").iterdir())
    names = {Path(path).name for path in written}
    assert {"confirmation-1.svg", "learning-curves-1.svg"} <= names
    assert ({"limits-1.svg", "learning-curves-2.svg"} <= names) == (kind == "environment")
    assert all(Path(path).read_bytes().startswith(b"<svg ") for path in written)


def test_mlflow_has_it_as_tag_and_param(kind, homes):
    client = mlflow.MlflowClient(homes[kind].mlflow_uri)
    (experiment,) = [e for e in client.search_experiments() if e.name.startswith("flowsweep/")]
    runs = client.search_runs([experiment.experiment_id])
    name = SWEEPS[kind][kind]
    assert {run.data.tags[f"flowsweep.{kind}"] for run in runs} == {name}
    trials = [run for run in runs if "flowsweep.phase" in run.data.tags]
    assert {run.data.params[kind] for run in trials} == {name}


def test_it_is_rerun_resumed_and_exported(kind, homes, call, tmp_path: Path):
    assert "reproduced" in call(kind, "rerun", kind)
    call(kind, "resume", kind, "--quiet")
    call(kind, "export", kind, str(tmp_path / "out"))
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (about[kind]["name"], about["split"]) == (SWEEPS[kind][kind], "test")
    assert f"{kind}: {SWEEPS[kind][kind]}" in (tmp_path / "out" / "config.yaml").read_text()
    assert f"learnt from the {kind} `{SWEEPS[kind][kind]}`" in (tmp_path / "out" / "README.md").read_text()
    (score, _) = load_learner(tmp_path / "out").evaluate([10, 11], 3)
    assert score.metrics["test_share"] == 1.0
