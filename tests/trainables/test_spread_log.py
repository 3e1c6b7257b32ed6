"""What workers of one stage say, and how it is heard as one voice."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from flowsweep.trainables.events import Checkpointed, Progress, Pulse
from flowsweep.trainables.spread import _Course
from flowsweep.trainables.spread_log import SpreadLog


def progress(step: int, cpu_s: float = 1.0, **metrics: float) -> Progress:
    return Progress(
        stage="pools",
        step=step,
        steps=20,
        seeds=(7,),
        metrics={name: [value] for name, value in metrics.items()},
        cpu_s=cpu_s,
        wall_s=cpu_s,
    )


def test_what_a_worker_says_is_heard_once_and_in_order(tmp_path: Path):
    log, listener = SpreadLog(tmp_path / "there" / "log.jsonl"), SpreadLog(tmp_path / "there" / "log.jsonl")
    assert listener.heard() == ([], 0.0)
    said = [
        Pulse(stage="pools", step=1, steps=20),
        progress(2, loss=0.25),
        Checkpointed(stage="pools", step=2, path="a/step-2"),
    ]
    for event in said[:2]:
        log.say(event)
    assert listener.heard() == (said[:2], 0.0)
    log.say(said[2])
    log.say_cpu(1.5)
    assert listener.heard() == (said[2:], 1.5)
    assert listener.heard() == ([], 0.0)


def test_a_line_torn_by_a_kill_is_dropped_and_spoils_none_after_it(tmp_path: Path):
    log, listener = SpreadLog(tmp_path / "log.jsonl"), SpreadLog(tmp_path / "log.jsonl")
    log.say(progress(1, loss=1.0))
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + whole[:30])
    assert [event.step for event in listener.heard()[0]] == [1]  # half a line may still be in the writing
    SpreadLog(log.path).say(progress(2, loss=2.0))
    assert [event.step for event in listener.heard()[0]] == [2]


def test_a_loss_that_is_not_finite_arrives_as_it_was(tmp_path: Path):
    log = SpreadLog(tmp_path / "log.jsonl")
    log.say(progress(1, loss=math.nan))
    [event], _ = SpreadLog(log.path).heard()
    assert math.isnan(event.metrics["loss"][0])


def course(together: bool, count: int = 2) -> _Course:
    job = SimpleNamespace(parted=lambda world: not together, folder=Path("trial/pools-seed-7"))
    return _Course(job, count)


def test_shards_report_a_mark_once_all_have_reached_it():
    shards = course(together=False)
    assert list(shards.take(0, progress(2, 1.0, trace=1.0))) == []
    assert list(shards.take(0, progress(4, 1.0, trace=9.0))) == []
    [report] = shards.take(1, progress(2, 0.5, trace=2.0))
    assert (report.step, report.metrics, report.cpu_s, report.wall_s) == (2, {"trace": [1.5]}, 1.5, 1.0)
    assert shards.step == 3


def test_a_shard_without_work_leaves_the_means_to_the_others():
    shards = course(together=False)
    assert list(shards.take(0, progress(2))) == []
    [report] = shards.take(1, progress(2, trace=2.0))
    assert report.metrics == {"trace": [2.0]}


def test_checkpoints_of_shards_are_named_from_the_trials_folder():
    [event] = course(together=False).take(0, Checkpointed(stage="pools", step=2, path="worker-0-of-2/step-2"))
    assert event.path == "pools-seed-7/worker-0-of-2/step-2"


def test_workers_that_walk_together_are_heard_through_the_first():
    together = course(together=True)
    said = progress(2, loss=1.0)
    assert list(together.take(0, said)) == [said]
    assert together.step == 2


@pytest.mark.parametrize("together", [True, False])
def test_pulses_only_move_the_step(together):
    heard = course(together)
    assert list(heard.take(0, Pulse(stage="pools", step=8, steps=20))) == []
    assert heard.step == (8 if together else 4)
