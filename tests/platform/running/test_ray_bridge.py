"""What the queue hands to Ray Tune, and when."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any, cast

from flowsweep.platform.running.desk import Desk
from flowsweep.platform.running.places import Places
from flowsweep.platform.running.ray_bridge import Marshal, TrialQueue
from ray.tune.search import Searcher

EVERYWHERE = cast(Places, SimpleNamespace(stay=lambda trial: None))
NOBODY = cast(Desk, None)  # these ways never reach the desk


def tune_with(pending: int = 0, ended: list | None = None) -> Any:
    """Tune's loop with a free worker and so many trials that wait."""
    return SimpleNamespace(
        _pending_trials=[None] * pending,
        _actor_cache=SimpleNamespace(num_cached_objects=1),
        _cleanup_cached_actors=lambda force_all: (ended if ended is not None else []).append(force_all),
    )


def queue(concurrent: int, starts: int, trials: int = 100) -> TrialQueue:
    names = (f"t{number:04}" for number in range(trials))
    return TrialQueue(lambda: next(({"trial": n} for n in names), None), NOBODY, lambda: concurrent, starts, bool)


def drawn(source: TrialQueue, ids: itertools.count) -> int:
    """Ask until it hands out nothing more for now; how many it handed out."""
    count = 0
    while isinstance(source.suggest(str(next(ids))), dict):
        count += 1
    return count


def test_no_more_workers_start_at_once_than_there_are_cores():
    source, ids = queue(concurrent=8, starts=2), itertools.count()
    assert drawn(source, ids) == 2
    source.note_start("0")
    assert drawn(source, ids) == 1, "one has come up, so one more may start"


def test_a_worker_that_has_become_free_gets_the_next_trial_whatever_is_starting():
    source, ids = queue(concurrent=8, starts=2), itertools.count()
    drawn(source, ids)
    source.note_start("0")
    drawn(source, ids)
    source.on_trial_complete("0")
    assert drawn(source, ids) == 1


def test_every_slot_is_filled_in_the_end_and_none_beyond():
    source, ids = queue(concurrent=5, starts=2), itertools.count()
    running = 0
    for _ in range(10):
        running += drawn(source, ids)
        for trial in list(source._starting):
            source.note_start(trial)
    assert running == 5


def test_nothing_more_is_told_only_when_nothing_runs():
    source = queue(concurrent=4, starts=4, trials=1)
    assert isinstance(source.suggest("a"), dict)
    assert source.suggest("b") is None
    source.on_trial_complete("a")
    assert source.suggest("c") == Searcher.FINISHED


def test_the_trial_drawn_last_is_chosen_while_it_waits_and_no_other():
    marshal = Marshal(NOBODY, queue(1, 1), EVERYWHERE)
    config = {"request": {"trial": "t0"}}
    first = SimpleNamespace(status="PENDING", config=config)
    second = SimpleNamespace(status="PENDING", config=config)
    marshal.on_trial_add(None, cast(Any, first))
    marshal.on_trial_add(None, cast(Any, second))
    assert marshal.choose_trial_to_run(tune_with(pending=2)) is second
    second.status = "RUNNING"
    assert marshal.choose_trial_to_run(tune_with(pending=1)) is None


def test_a_free_worker_is_ended_only_where_no_more_trials_may_run_and_none_waits():
    source = queue(concurrent=1, starts=1)
    marshal, ended = Marshal(NOBODY, source, EVERYWHERE), []
    marshal.choose_trial_to_run(tune_with(ended=ended))
    assert not ended, "the next trial takes it"
    source.suggest("a")
    marshal.choose_trial_to_run(tune_with(pending=1, ended=ended))
    assert not ended, "the trial just drawn takes it"
    marshal.choose_trial_to_run(tune_with(ended=ended))
    assert ended == [True]
