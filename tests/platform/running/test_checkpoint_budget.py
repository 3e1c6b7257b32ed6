"""The budget for checkpoints of a running sweep: what goes, in which order, what never does, and that it is said."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from flowsweep.platform.journal.events import Entry, TrialEnded, TrialPlaced
from flowsweep.platform.journal.journal import Journal, read
from flowsweep.platform.record.incidents import incidents, summed
from flowsweep.platform.running.checkpoint_budget import GIB, CheckpointBudget, within_budget
from flowsweep.trainables.base import Snapshot
from flowsweep.trainables.checkpoints import Checkpoints


@pytest.fixture
def trials(tmp_path: Path):
    """Make a trial's checkpoints at steps 1, 2, 3 with the first one best, ``age`` telling trials apart; their size."""

    def make(*names: str) -> tuple[Path, int]:
        for age, name in enumerate(names):
            kept = Checkpoints(tmp_path / "trials" / name / "tune", keep_last=3)
            for step in (1, 2, 3):
                path = kept.save(step, Snapshot({"x": torch.zeros(1000)}, {}))
                os.utime(path, (0, 100 * age + step))
            kept.mark_best(1, 0.5)
        one = sum(file.stat().st_size for file in path.iterdir())
        return tmp_path / "trials", one

    return make


def left(folder: Path) -> list[str]:
    return sorted(f"{path.parent.parent.name}/{int(path.name[5:])}" for path in folder.glob("*/*/step-*"))


def ended(trial: str, status: str = "finished") -> Entry:
    return Entry(seq=0, time=0.0, trial=trial, event=TrialEnded(status=status))


def tidied(folder: Path, budget: float, *before: Entry) -> list[tuple]:
    said: list[tuple] = []
    CheckpointBudget(folder, budget, before, lambda event, trial: said.append((event, trial))).tidy()
    return said


def test_of_ended_trials_superseded_ones_go_first_then_the_best_then_the_last(trials):
    folder, one = trials("old", "new")
    over = ended("old"), ended("new", "pruned")
    everything = ["new/1", "new/2", "new/3", "old/1", "old/2", "old/3"]
    for keep, gone in enumerate(["old/2", "new/2", "old/1", "new/1", "old/3", "new/3"], start=1):
        tidied(folder, (6 - keep) * one + 20, *over)
        everything.remove(gone)
        assert left(folder) == everything


def test_the_last_of_a_trial_that_is_not_over_never_goes_and_that_is_said_once(trials):
    folder, one = trials("done", "cut", "going")
    said: list[tuple] = []
    before = ended("done"), ended("cut", "cancelled")
    budget = CheckpointBudget(folder, one, before, lambda *fact: said.append(fact))
    budget.tidy()
    budget.tidy()
    assert left(folder) == ["cut/3", "going/3"]
    assert [(event.kind, trial) for event, trial in said] == [
        ("checkpoints_dropped", "done"),
        ("checkpoints_dropped", "cut"),
        ("checkpoints_dropped", "going"),
        ("checkpoints_over_budget", None),
    ]
    assert list(said[0][0].paths) == [f"done/tune/step-000000000{step}" for step in (2, 1, 3)]


def test_a_trial_taken_up_again_counts_as_going_on(trials):
    folder, one = trials("t0")
    tidied(folder, one, ended("t0"), Entry(seq=1, time=0.0, trial="t0", event=TrialPlaced()))
    assert left(folder) == ["t0/3"]


def test_within_the_budget_nothing_goes(trials):
    folder, one = trials("t0", "t1")
    assert tidied(folder, 6 * one + 20, ended("t0"), ended("t1")) == []
    assert len(left(folder)) == 6


def test_a_running_sweep_keeps_to_it_and_the_record_says_what_went(trials, tmp_path: Path):
    folder, one = trials("t0", "t1")
    with Journal(tmp_path / "journal.jsonl") as journal:
        shown: list[Entry] = []
        watch = within_budget((3 * one + 20) / GIB, folder, (), journal.append, shown.append)
        watch(journal.append(TrialEnded(status="finished", reason="", value=1.0), "t0"))
    assert left(folder) == ["t1/1", "t1/2", "t1/3"]
    (told,) = incidents(read(tmp_path / "journal.jsonl"))
    assert told.trial == "t0"
    assert told.what.startswith("3 checkpoints dropped, ")
    assert "checkpoints.budget_gib is" in told.what
    assert [fact.event.kind for fact in shown] == ["trial_ended", "checkpoints_dropped"]


def test_a_person_is_told_of_all_that_was_dropped_in_one_line(trials, tmp_path: Path):
    folder, one = trials("t0", "t1")
    with Journal(tmp_path / "journal.jsonl") as journal:
        watch = within_budget(0.5 * one / GIB, folder, (), journal.append, lambda fact: None)
        for trial in ("t0", "t1"):
            watch(journal.append(TrialEnded(status="finished", reason="", value=1.0), trial))
    found = incidents(read(tmp_path / "journal.jsonl"))
    *_, told = summed(found)
    assert sum(incident.kind == "checkpoints_dropped" for incident in summed(found)) == 1
    assert re.match(r"6 checkpoints of 2 trials dropped, [\d,]+ bytes: checkpoints.budget_gib is", told.what)
    assert told.bytes == pytest.approx(6 * one, abs=20)


def test_without_a_budget_nobody_looks(tmp_path: Path):
    assert within_budget(None, tmp_path, (), lambda: None, print) is print  # type: ignore[arg-type]


def test_rows_count_and_go_with_the_last_checkpoint_that_stands_on_them(tmp_path: Path):
    kept = Checkpoints(tmp_path / "trials" / "done" / "train", keep_last=2)
    rows = torch.zeros(30, 1000)
    for step in (1, 2, 3):
        kept.save(step, Snapshot({"x": torch.zeros(10)}, {}, {"rows": rows[: 10 * step]}))
    stored = tmp_path / "trials" / "done" / "train" / "rows"
    assert len(list(stored.iterdir())) == 3
    tidied(tmp_path / "trials", 200_000, ended("done"))
    assert left(tmp_path / "trials") == ["done/2", "done/3"], "within the budget"
    tidied(tmp_path / "trials", 50_000, ended("done"))
    assert left(tmp_path / "trials") == []
    assert list(stored.iterdir()) == []
