"""What a client is told of a sweep: everything a table needs, as it happens, and when it is over."""

from __future__ import annotations

import json
import threading

import pytest
from flowsweep.cluster import relay as module
from flowsweep.cluster.relay import MARK, answers, relay
from flowsweep.platform.journal.events import Entry, SweepEnded, SweepStarted, TrialEnded, TrialProposed
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.paths import Home
from flowsweep.platform.running.live import Board, Shown, activity
from flowsweep.trainables.events import Checkpointed, Evaluated, Progress

SPEC = {
    "name": "s", "objective": {"metric": "tune/return", "direction": "maximize"},
    "space": {"tune.rate": {}}, "search": {"trials": 1},
}  # fmt: skip


def measured(step: int, kind: str = "progress", **more) -> dict:
    return {
        "stage": "tune",
        "step": step,
        "steps": 40,
        "seeds": [0],
        "metrics": {"return": [step / 10]},
        **more,
    }


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ALONE_S", 0.2)
    monkeypatch.setattr(module, "POLL_S", 0.02)
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path))
    return Home(tmp_path).sweep("s")


def begin(journal: Journal) -> None:
    journal.append(SweepStarted(name="s", spec=SPEC, plan={"long": "list"}))
    journal.append(TrialProposed(params={"tune.rate": 0.1}, configs={"tune": {}}, through="tune"), "t0")
    for step in (1, 2, 3):
        journal.append(Progress(**measured(step)), "t0")
        journal.append(Checkpointed(stage="tune", step=step, path="p"), "t0")
    journal.append(Evaluated(**measured(3, episodes=[{"return": [1.0] * 50}])), "t0")


def end(journal: Journal) -> None:
    journal.append(TrialEnded(status="finished", reason="", value=0.3), "t0")
    journal.append(SweepEnded(status="finished", reason=""))


def test_a_finished_sweep_is_told_shortened_and_gives_the_same_table(paths):
    with Journal(paths.journal) as journal:
        begin(journal)
        end(journal)
    said = list(answers(paths, -1, 60))
    entries = [one["entry"] for one in said if "entry" in one]
    assert [one["mark"] for one in said if "mark" in one] == ["now", "over"]
    assert [entry["event"]["kind"] for entry in entries] == [
        "sweep_started", "trial_proposed", "progress", "evaluated", "trial_ended", "sweep_ended",
    ]  # fmt: skip
    assert "plan" not in entries[0]["event"]
    assert "episodes" not in entries[3]["event"]
    board = Board(Shown.recorded(entries[0]["event"]["spec"]))
    for entry in entries:
        board.take(Entry.model_validate(entry))
    (trial,) = board.sorted_trials()
    assert (trial.value, activity(trial), board.counts()) == (0.3, "finished", (1, 1))


def test_what_happens_meanwhile_is_told_and_nothing_twice(paths):
    told = threading.Event()
    with Journal(paths.journal) as journal:
        begin(journal)
        stream = answers(paths, 7, 60)
        assert next(stream)["entry"]["seq"] == 8, "what came before is known already"
        assert next(stream) == {"mark": "now"}
        journal.append(Progress(**measured(5)), "t0")
        assert next(stream)["entry"]["event"]["step"] == 5
        end(journal)
        told.set()
    assert [one.get("mark", "entry") for one in stream] == ["entry", "entry", "over"]


def test_a_sweep_without_its_driver_is_told_as_left(paths):
    with Journal(paths.journal) as journal:
        begin(journal)
    assert list(answers(paths, -1, 60))[-1] == {"mark": "left"}


def test_a_relay_does_not_outlive_its_time(paths):
    with Journal(paths.journal) as journal:
        begin(journal)
        assert list(answers(paths, -1, 0.05))[-1] == {"mark": "more"}


def test_an_answer_is_one_line_with_a_mark(paths, capfd):
    with Journal(paths.journal) as journal:
        begin(journal)
        end(journal)
    assert relay(["s", "--after", "8"]) == 0
    lines = capfd.readouterr().out.rstrip("\n").split("\n")
    assert all(line.startswith(MARK) for line in lines)
    assert json.loads(lines[0].removeprefix(MARK))["entry"]["seq"] == 9


def test_a_sweep_that_is_not_there_is_said(paths, capfd):
    assert relay(["nobody"]) == 2
    assert "no sweep of this name" in capfd.readouterr().err
