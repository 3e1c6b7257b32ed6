"""What the queue hands to Ray Tune, and when."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import cast

import pytest
from flowsweep.platform.running.desk import Desk
from flowsweep.platform.running.places import Places
from flowsweep.platform.running.ray_bridge import Marshal, TrialQueue
from ray.tune.search import Searcher
from ray.tune.utils.object_cache import _ObjectCache

EVERYWHERE = cast(Places, SimpleNamespace(stay=lambda trial: None))
NOBODY = cast(Desk, None)  # these ways never reach the desk


class Tune:
    """What Tune's loop knows of trials and workers, with so many free ones and trials that wait, some being started for."""

    def __init__(self, free: int = 0, waiting: tuple[str, ...] = (), starting: tuple[str, ...] = ()):
        self._actor_cache = _ObjectCache()
        self._actor_cache.increase_max("bundle", free)
        for number in range(free):
            assert self._actor_cache.cache_object("bundle", number)
        self._pending_trials = {*waiting, *starting}
        self._trial_to_actor = dict.fromkeys(starting)
        self._resources_to_pending_trials = {"bundle": {*waiting, *starting}}
        self.ended: list[bool] = []
        self.listened = 0
        self._actor_manager = self

    def _cleanup_cached_actors(self, force_all: bool) -> None:
        self.ended.append(force_all)

    def next(self, timeout: float) -> None:
        """Of its workers' manager: take what a worker says."""
        self.listened += 1


def queue(concurrent: int, starts: int, trials: int = 100) -> TrialQueue:
    names = (f"t{number:04}" for number in range(trials))
    return TrialQueue(
        lambda: next(({"trial": n} for n in names), None), NOBODY, lambda: concurrent, lambda: starts, bool
    )


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


@pytest.mark.parametrize("kept", [1, 0], ids=["Tune keeps its worker", "its worker was ended"])
def test_a_trial_that_ends_makes_room_for_the_next_only_where_tune_keeps_its_worker(kept):
    source, ids = queue(concurrent=8, starts=2), itertools.count()
    drawn(source, ids)
    source.note_start("0")
    drawn(source, ids)  # as many start as may
    source.note_placing(Tune(free=kept))
    source.on_trial_complete("0")
    assert drawn(source, ids) == kept


def test_workers_that_start_are_counted_beside_a_free_one():
    source, ids = queue(concurrent=8, starts=2), itertools.count()
    source.note_placing(Tune(free=1))
    assert drawn(source, ids) == 3
    source.note_placing(Tune(free=0))
    assert drawn(source, ids) == 0
    source.note_start("0")  # it was not among those that start
    assert drawn(source, ids) == 0
    source.note_start("1")
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


def test_a_free_worker_is_kept_for_the_next_trial_while_there_is_one_to_come():
    source = queue(concurrent=2, starts=1, trials=2)
    marshal, tune = Marshal(NOBODY, source, EVERYWHERE), Tune(free=1, waiting=("a",), starting=("b",))
    takers = tune._resources_to_pending_trials["bundle"]
    assert marshal.choose_trial_to_run(tune) is None, "Tune places those that wait in their order"
    assert takers == {"a"}, "what is being started for the other is not killed"
    source.note_placing(Tune(free=2))
    assert drawn(source, itertools.count()) == 2
    marshal.choose_trial_to_run(tune)
    assert takers == {"a", "b"}, "no more may run now, and its own worker may never start"


def test_a_free_worker_is_ended_only_where_no_more_trials_may_run_and_none_waits():
    source = queue(concurrent=1, starts=1)
    marshal, tune = Marshal(NOBODY, source, EVERYWHERE), Tune(free=1)
    marshal.choose_trial_to_run(tune)
    assert not tune.ended, "the next trial takes it"
    source.suggest("a")
    drawn_for = Tune(free=1, waiting=("a",))
    marshal.choose_trial_to_run(drawn_for)
    assert not drawn_for.ended, "the trial just drawn takes it"
    marshal.choose_trial_to_run(tune)
    assert tune.ended == [True]


def test_a_free_worker_is_ended_too_where_nothing_runs_and_nothing_may():
    places = [1]
    source = TrialQueue(lambda: {"trial": "t0000"}, NOBODY, lambda: places[0], lambda: 1, bool)
    marshal, tune = Marshal(NOBODY, source, EVERYWHERE), Tune(free=1)
    source.suggest("a")
    marshal.choose_trial_to_run(Tune())
    source.on_trial_complete("a")
    marshal.choose_trial_to_run(tune)
    assert (tune.ended, tune.listened) == ([], 0)
    places[0] = 0
    assert source.suggest("b") is None, "from here on Tune only asks again"
    assert (tune.ended, tune.listened) == ([True], 1)
