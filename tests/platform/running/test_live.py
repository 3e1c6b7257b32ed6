"""What a person sees while a sweep runs, from recorded facts alone."""

from pathlib import Path

import pytest
from flowsweep.platform.journal.events import EVENTS, Entry, Sending, SweepStarted
from flowsweep.platform.paths import Home
from flowsweep.platform.running.live import Board, LiveView, duration, spoken, table
from flowsweep.platform.sweep.plan import make_plan
from rich.console import Console


@pytest.fixture
def plan(toy_sweep, tmp_path: Path):
    return make_plan(toy_sweep(), Home(tmp_path))


def fact(kind, trial="t0000", **data):
    return Entry(seq=0, time=0.0, trial=trial, event=EVENTS[kind](**data))


def proposed(trial, rate=0.125, phase="search"):
    params = {"tune.rate": rate, "tune.offset": 1.0}
    return fact("trial_proposed", trial, phase=phase, params=params, through="tune")


def scored(trial, value, step=20):
    return fact(
        "evaluated",
        trial,
        stage="tune",
        step=step,
        steps=40,
        seeds=(0, 1),
        metrics={"return": [value, value]},
    )


def started(plan) -> Board:
    board = Board(plan)
    spec = plan.spec.model_dump(mode="json")
    board.take(Entry(seq=0, time=0.0, event=SweepStarted(spec=spec)))
    return board


def printed(view) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(view)
    return console.export_text()


def test_what_breaks_a_limit_is_shown_behind_what_keeps_it_and_with_its_value(toy_sweep, tmp_path: Path):
    board = started(make_plan(toy_sweep(constraints=["tune/loss <= 2"]), Home(tmp_path)))
    for trial, value, loss in (("t0000", 0.1, 1.0), ("t0001", 0.9, 2.5), ("t0002", 0.2, 2.0)):
        board.take(proposed(trial))
        metrics = {"return": [value, value], "loss": [loss, loss]}
        board.take(fact("evaluated", trial, stage="tune", step=20, steps=40, seeds=(0, 1), metrics=metrics))
    assert [trial.trial for trial in board.sorted_trials()] == ["t0002", "t0000", "t0001"]
    assert "tune/loss 2.5 > 2" in printed(table(board))


def test_the_table_is_sorted_by_the_objective(plan):
    board = started(plan)
    for trial, value in (("t0000", 0.1), ("t0001", 0.3), ("t0002", 0.2)):
        board.take(proposed(trial))
        board.take(scored(trial, value))
    board.take(proposed("t0003"))
    text = printed(table(board))
    assert [text.index(trial) for trial in ("t0001", "t0002", "t0000", "t0003")] == sorted(
        text.index(trial) for trial in ("t0000", "t0001", "t0002", "t0003")
    )
    assert "tune 20/40" in text


def test_time_left_follows_from_the_share_of_work_done(plan):
    now = [0.0]
    board = Board(plan, clock=lambda: now[0])
    board.take(proposed("t0000"))
    assert board.left_s() is None
    board.take(fact("trial_ended", status="finished", reason="", value=1.0))
    board.take(proposed("t0001"))
    board.take(fact("pulse", "t0001", stage="tune", step=20, steps=40))
    now[0] = 30.0
    assert board.left_s() == pytest.approx(30 * (6 - 1.5) / 1.5)
    assert board.counts() == (1, 6)


def test_reuse_is_counted_as_it_happens(plan):
    board = Board(plan)
    board.take(fact("stage_computed", stage="base", key="k", seed=0, cpu_s=90.0))
    board.take(fact("stage_reused", stage="base", key="k", seed=0, saved_cpu_s=90.0))
    assert "1 computed, 1 reused (1 min 30 s of CPU time saved)" in printed(table(board))


def test_without_a_terminal_facts_become_lines(plan, tmp_path: Path):
    with open(tmp_path / "out", "w") as file, LiveView(plan, Console(file=file, width=200)) as view:
        view(proposed("t0000"))
        view(fact("pulse", stage="tune", step=3, steps=40))
        view(scored("t0000", 0.25))
        view(fact("trial_ended", status="pruned", reason="too low", value=0.25))
        view(Entry(seq=-1, time=0.0, event=Sending(unsent=1200)))
        view(Entry(seq=-1, time=0.0, event=Sending(unsent=600)))
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines == [
        "t0000  proposed  tune.rate=0.125  tune.offset=1",
        "t0000  tune step 20/40  return 0.25",
        "t0000  pruned  return 0.25  (too low)  [1/6]",
        "Sending 1,200 events to the tracker, for a minute at most ...",
    ]


def test_a_resumed_sweep_counts_what_was_done_before(plan):
    before = [proposed("t0000"), fact("trial_ended", status="finished", reason="", value=1.0)]
    assert LiveView(plan, Console(quiet=True), before=before).board.counts() == (1, 6)


def test_markup_in_a_reason_is_shown_as_it_is(plan):
    board = Board(plan)
    board.take(proposed("t0000"))
    ended = fact("trial_ended", status="failed", reason="[red]KeyError[/]", value=None)
    assert "[red]KeyError[/]" in (spoken(ended, board) or "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2, "4 s"), (75, "1 min 15 s"), (3600 * 2 + 300, "2 h 05 min")]
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text
