"""What a journal adds up to: values, costs, ranks, tables, and the list of sweeps."""

from __future__ import annotations

import math

import pyarrow.parquet as parquet
import pytest
from flowsweep.platform.journal.events import (
    SweepEnded,
    SweepResumed,
    SweepStarted,
    TrialEnded,
    TrialPlaced,
    TrialProposed,
    TrialRetried,
    TrialStopped,
)
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.paths import Home
from flowsweep.platform.record.results import (
    best,
    first_against,
    leaderboard,
    list_sweeps,
    read_sweep,
    savings,
    tables,
    write_tables,
)
from flowsweep.trainables.events import Evaluated, Progress, StageComputed, StageReused

SPEC = {
    "system": "fidec",
    "dataset": "D4RL/pointmaze/large-v2",
    "objective": {"metric": "refine/success_rate", "direction": "maximize"},
}


def evaluated(step: int, *lanes: list[float], seeds=(0, 1), stage: str = "refine") -> dict:
    return {
        "stage": stage,
        "step": step,
        "steps": 100,
        "seeds": list(seeds),
        "metrics": {"success_rate": [sum(lane) / len(lane) for lane in lanes]},
        "episodes": [{"success": lane} for lane in lanes],
        "episodes_spent": sum(map(len, lanes)),
        "cpu_s": 1.0,
    }


def trained(step: int, cpu_s: float, seeds=(0, 1), stage: str = "refine") -> dict:
    metrics = {"critic_loss": [0.5 / step] * len(seeds)}
    return {
        "stage": stage,
        "step": step,
        "steps": 100,
        "seeds": list(seeds),
        "metrics": metrics,
        "cpu_s": cpu_s,
    }


def propose(
    journal: Journal, trial: str, phase: str = "search", seeds=(0, 1), through: str = "refine", **more
) -> None:
    params = {"refine.kl_radius": 0.01, "refine.backup": "min"}
    journal.append(
        TrialProposed(phase=phase, params=params, configs={}, seeds=list(seeds), through=through, **more),
        trial,
    )


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def paths(home):
    """Three search trials (finished, pruned, diverged), one confirmation and a baseline."""
    paths = home.sweep("maze")
    good, fair, none = [1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [0.0] * 4
    with Journal(paths.journal) as journal:
        journal.append(SweepStarted(name="maze", spec=SPEC))
        propose(journal, "t0", number=0)
        journal.append(Progress(**trained(50, 4.0, [0], "pretrain")), "t0")
        journal.append(
            StageComputed(stage="pretrain", key="a" * 64, seed=0, steps=9, cpu_s=10.0, wall_s=11.0, bytes=5),
            "t0",
        )
        journal.append(Progress(**trained(50, 2.0)), "t0")
        journal.append(Evaluated(**evaluated(50, fair, fair)), "t0")
        journal.append(Progress(**trained(100, 2.0)), "t0")
        journal.append(Evaluated(**evaluated(100, good, fair)), "t0")
        journal.append(TrialEnded(status="finished", reason="all steps done", value=0.625), "t0")
        propose(journal, "t1", number=1)
        journal.append(StageReused(stage="pretrain", key="a" * 64, seed=0, saved_cpu_s=10.0), "t1")
        journal.append(Progress(**trained(25, 3.0)), "t1")
        journal.append(Evaluated(**evaluated(25, good, good)), "t1")
        journal.append(TrialStopped(rule="median", reason="below the median"), "t1")
        journal.append(TrialEnded(status="pruned", reason="below the median", value=0.75), "t1")
        propose(journal, "t2", number=2)
        journal.append(TrialEnded(status="diverged", reason="critic_loss at step 3", value=None), "t2")
        propose(journal, "c0", "confirm", seeds=(10, 11), confirms="t0")
        journal.append(Evaluated(**evaluated(100, good, good, seeds=(10, 11))), "c0")
        journal.append(TrialEnded(status="finished", reason="all steps done", value=0.75), "c0")
        propose(journal, "b0", "baseline", seeds=(10, 11), through="pretrain")
        journal.append(Evaluated(**evaluated(100, none, none, seeds=(10, 11), stage="pretrain")), "b0")
        journal.append(TrialEnded(status="finished", reason="all steps done", value=0.0), "b0")
        journal.append(SweepEnded(status="finished", reason=""))
    return paths


def test_a_trial_is_worth_its_last_evaluation_averaged_over_seeds(paths):
    record = read_sweep(paths)
    assert {trial.trial: trial.value for trial in record.trials.values()} == {
        "t0": 0.625,
        "t1": 0.75,
        "t2": None,
        "c0": 0.75,
        "b0": 0.0,
    }
    assert record.trials["t0"].episodes_spent == 16
    assert record.trials["t1"].stopped_by == "median: below the median"
    assert record.trials["t2"].reason == "critic_loss at step 3"
    assert [trial.trial for trial in record.phase("search")] == ["t0", "t1", "t2"]


def test_a_running_trial_already_has_a_value(home):
    with Journal(home.sweep("maze").journal) as journal:
        journal.append(SweepStarted(name="maze", spec=SPEC))
        propose(journal, "t0")
        journal.append(TrialPlaced(node="n", pid=1, device="cpu"), "t0")
        journal.append(Evaluated(**evaluated(50, [1.0], [0.0])), "t0")
        trial = read_sweep(home.sweep("maze")).trials["t0"]
    assert (trial.status, trial.value, trial.progress) == ("running", 0.5, (50, 100))


def test_process_time_is_counted_once(paths):
    record = read_sweep(paths)
    # The 4 s reported while pretraining are part of the 10 s it took.
    assert record.trials["t0"].cpu_s == 10.0 + 2 + 1 + 2 + 1
    assert record.trials["t1"].cpu_s == 3 + 1
    assert record.trials["t1"].saved_cpu_s == 10.0


def test_savings_add_up(paths):
    saved = savings(read_sweep(paths))
    assert (saved.computed_cpu_s, saved.reused_cpu_s) == (22.0, 10.0)
    assert saved.pruned_spent_cpu_s == 4.0
    assert saved.pruned_saved_cpu_s == 12.0  # 25 of 100 steps took 4 s.
    assert saved.factor == 44.0 / 22.0
    assert (saved.stages_computed, saved.stages_reused, saved.episodes_spent) == (1, 1, 40)


def test_confirmations_lead_and_what_was_stopped_early_is_not_ranked(paths):
    rows = leaderboard(read_sweep(paths))
    assert [(row.trial, row.phase, row.rank) for row in rows] == [
        ("c0", "confirm", 1),
        ("b0", "baseline", 2),
        ("t0", "search", 1),
        ("t1", "search", None),
    ]
    confirmed = rows[0]
    assert (confirmed.confirms, confirmed.search_value) == ("t0", 0.625)
    assert (confirmed.seeds, confirmed.per_seed, confirmed.episodes) == ((10, 11), (0.75, 0.75), 4)
    assert rows[2].score.method == "t over 2 seeds"
    first = best(read_sweep(paths))
    assert first is not None
    assert first.trial == "c0"


def test_the_leaderboard_can_be_turned_round_and_ask_for_another_metric(paths):
    rows = leaderboard(read_sweep(paths), direction="minimize")
    assert [row.trial for row in rows] == ["b0", "c0", "t0", "t1"]
    assert leaderboard(read_sweep(paths), metric="refine/return") == []


def test_whether_the_first_is_really_better_is_judged_on_shared_seeds(paths):
    record = read_sweep(paths)
    found = first_against(record, "c0", "b0")
    assert found is not None
    assert found.difference == 0.75
    assert found.method == "paired t over 2 seeds"
    assert first_against(record, "c0", "t0") is None  # Other seeds.
    assert first_against(record, "c0", "t2") is None  # Never scored.


def test_the_tables_hold_the_record_and_come_back_from_parquet(paths):
    record = read_sweep(paths)
    written = {name: parquet.read_table(path) for name, path in write_tables(record).items()}
    assert {name: table.num_rows for name, table in written.items()} == {
        "trials": 5,
        "curves": 1 + 3 * 2 + 5 * 2,
        "episodes": 40,
        "stages": 2,
    }
    for name, table in tables(record).items():
        assert written[name].equals(table)
    trials = {row["trial"]: row for row in written["trials"].to_pylist()}
    assert trials["t0"]["refine.kl_radius"] == 0.01
    assert trials["t0"]["refine.backup"] == "min"
    assert trials["c0"]["interval"] == "t over 2 seeds"
    assert trials["t2"]["value"] is None
    assert not list(paths.results.glob(".*"))


def test_an_interrupted_and_resumed_trial_ends_with_its_last_word(paths):
    with Journal(paths.journal) as journal:
        journal.append(SweepResumed(host="b", spec=SPEC))
        journal.append(TrialPlaced(node="n"), "t2")
        running = read_sweep(paths)
        journal.append(Evaluated(**evaluated(100, [1.0], [1.0])), "t2")
        journal.append(TrialEnded(status="finished", reason="", value=1.0), "t2")
    assert (running.status, running.trials["t2"].status) == ("running", "running")
    assert read_sweep(paths).trials["t2"].value == 1.0
    assert len(read_sweep(paths).sessions) == 2


def test_a_trial_waits_until_it_is_placed_and_whenever_it_has_lost_its_place(home):
    words = []
    with Journal(home.sweep("maze").journal) as journal:
        journal.append(SweepStarted(name="maze", spec=SPEC))
        propose(journal, "t0")
        lost = TrialRetried(failure="preempted", reason="it made room")
        placed = TrialPlaced(node="n", pid=1, device="cpu")
        for event in (None, placed, lost, placed):
            if event:
                journal.append(event, "t0")
            trial = read_sweep(home.sweep("maze")).trials["t0"]
            words.append((str(trial.status), not trial.status.has_ended))
    assert words == [("waiting", True), ("running", True), ("waiting", True), ("running", True)]


def test_a_sweep_that_has_not_scored_anything_has_empty_tables(home):
    with Journal(home.sweep("new").journal) as journal:
        journal.append(SweepStarted(name="new", spec=SPEC))
    record = read_sweep(home.sweep("new"))
    assert leaderboard(record) == []
    assert best(record) is None
    assert {table.num_rows for table in tables(record).values()} == {0}
    assert math.isnan(savings(record).factor)


def test_the_list_tells_running_finished_died_and_damaged_apart(home, paths):
    running = Journal(home.sweep("running").journal)
    running.append(SweepStarted(name="running", spec=SPEC))
    with Journal(home.sweep("died").journal) as journal:
        journal.append(SweepStarted(name="died", spec=SPEC))
    with Journal(home.sweep("damaged").journal) as journal:
        journal.append(SweepStarted(name="damaged", spec=SPEC))
    home.sweep("damaged").journal.write_text("{}\n{}\n")
    (home.sweeps / "empty").mkdir()
    found = {summary.name: summary for summary in list_sweeps(home)}
    running.close()
    assert {name: summary.status for name, summary in found.items()} == {
        "maze": "finished",
        "running": "running",
        "died": "died",
        "damaged": "damaged",
    }
    assert (found["maze"].best, found["maze"].best_trial) == (0.75, "c0")
    assert found["maze"].trials == {"finished": 3, "pruned": 1, "diverged": 1}
    assert "line 1" in found["damaged"].note


def test_an_objective_that_training_reports_is_ranked_by_its_last_report(home):
    """As where nothing is scored, for want of an environment: evaluations hold no metric then."""
    paths = home.sweep("unscored")
    objective = {"metric": "refine/critic_loss", "direction": "minimize"}
    with Journal(paths.journal) as journal:
        journal.append(SweepStarted(name="unscored", spec={**SPEC, "objective": objective}))
        for trial, losses in (("t0", (1.0, 3.0)), ("t1", (9.0, 2.0))):
            propose(journal, trial)
            for step, loss in zip((50, 100), losses, strict=True):
                said = {**trained(step, 1.0), "metrics": {"critic_loss": [loss, loss]}}
                journal.append(Progress(**said), trial)
            journal.append(
                Evaluated(**{**trained(100, 0.0), "metrics": {}}, episodes=[{}, {}], episodes_spent=0), trial
            )
            journal.append(TrialEnded(status="finished", reason="all steps done", value=losses[-1]), trial)
    rows = leaderboard(read_sweep(paths))
    assert [(row.trial, row.rank, row.score.mean, row.episodes) for row in rows] == [
        ("t1", 1, 2.0, 0),
        ("t0", 2, 3.0, 0),
    ]
    found = best(read_sweep(paths))
    assert found is not None
    assert found.trial == "t1"
