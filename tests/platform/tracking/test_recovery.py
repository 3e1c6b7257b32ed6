"""A tracker that lost what it was sent gets it again; one that refuses is told, with the way back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from flowsweep.platform.cli import incidents
from flowsweep.platform.cli.incidents import tell_refusals
from flowsweep.platform.tracking.runs import trial_run
from flowsweep.platform.tracking.tracker import catch_up, tracker_status
from mlflow import MlflowClient
from rich.console import Console


@pytest.fixture
def database(tmp_path: Path, request) -> Path:
    """MLflow's tables in a file of the test's own; making them takes seconds, so they are copied."""
    made: Path = request.getfixturevalue("tables")
    return Path(shutil.copy(made, tmp_path / "mlflow.db"))


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("tables") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments(max_results=1)
    return file


@pytest.fixture
def send(sweep, database):
    sweep.start()
    sweep.propose("t0")
    sweep.report("t0", 1)
    return lambda **how: catch_up(sweep.paths, f"sqlite:///{database}", "flowsweep/test", **how)


def steps(sweep, database) -> list[int]:
    points = sweep.tracked(f"sqlite:///{database}", "flowsweep/test")[trial_run("t0")][1]
    return [step for step, _ in points["refine/critic_loss"]]


def test_what_was_sent_is_not_sent_again(send):
    assert (send(), send()) == (3, 0)


def test_a_tracker_whose_database_was_deleted_gets_everything(sweep, database, send, tables):
    send()
    shutil.copy(tables, database)
    assert send() == 3
    assert steps(sweep, database) == [1]


def test_one_that_was_restored_from_an_older_backup_gets_everything_once(sweep, database, send, tmp_path):
    send()
    backup = shutil.copy(database, tmp_path / "backup")
    sweep.report("t0", 2)
    assert send() == 1
    shutil.copy(backup, database)
    assert send() == 4
    assert steps(sweep, database) == [1, 2]
    assert send() == 0


def test_a_run_deleted_by_hand_is_told_and_sent_again_once_it_is_restored(sweep, database, send, monkeypatch):
    send()
    client = MlflowClient(f"sqlite:///{database}")
    run = sweep.tracked(f"sqlite:///{database}", "flowsweep/test")[trial_run("t0")][0].info.run_id
    client.delete_run(run)
    sweep.report("t0", 2)
    assert send() == 1
    assert "deleted" in tracker_status(sweep.paths).refused[-1]
    said = Console(width=400, record=True)
    monkeypatch.setattr(incidents, "console", said)
    tell_refusals(sweep.paths)
    assert f"flowsweep sync {sweep.paths.name} --again" in said.export_text()
    assert send() == 0, "it is no loss of the tracker's, and does not come again by itself"
    client.restore_run(run)
    assert send(again=True) == 4
    assert steps(sweep, database) == [1, 2]
    assert tracker_status(sweep.paths).refusals == 0


def test_a_sweeps_own_run_that_was_deleted_holds_nothing_up(sweep, database, send):
    send()
    run = sweep.tracked(f"sqlite:///{database}", "flowsweep/test")["sweep"][0].info.run_id
    MlflowClient(f"sqlite:///{database}").delete_run(run)
    sweep.report("t0", 2)
    assert (send(), send()) == (1, 0)
    assert steps(sweep, database) == [1, 2]
