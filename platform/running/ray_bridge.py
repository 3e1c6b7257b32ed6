"""Ray Tune's place: it puts trials on workers and moves them; what is proposed and decided comes from the desk."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ...trainables.events import event_of
from ...trainables.failures import Failure
from ...trainables.request import TrialRequest
from ..journal.events import TrialPlaced
from .desk import Desk
from .failures import MADE_ROOM, MemoryKills, lost_worker
from .phases import NOT_YET
from .places import Places
from .scheduling import Decision
from .worker_logs import WorkerLogs

# Read by Ray when Tune starts: our journal replaces its loggers, snapshots and strict metric names.
TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "30",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    # The queue says how many run at once. By default Tune starts one worker at a time for a searcher, and gives up the start
    # when another trial ends first: with trials shorter than a start there would never be more than a few workers.
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
}


def configure_tune() -> None:
    """Set Tune's switches, unless the user has."""
    for name, value in TUNE_SETTINGS.items():
        os.environ.setdefault(name, value)
    _survive_memory_kills()


def _survive_memory_kills() -> None:
    """Let Tune take a worker that Ray's memory monitor has killed for a lost one.

    Ray reports it as ``OutOfMemoryError``, which is no ``RayActorError``, and Tune's loop ends on any error it does not
    know (ray 2.60, ``RayActorManager._actor_task_failed``).
    """
    from ray.air.execution._internal import actor_manager
    from ray.exceptions import RayActorError, RayError, RayTaskError
    from ray.tune.execution import tune_controller

    class ActorManager(actor_manager.RayActorManager):
        def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
            if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
                exception = RayActorError(
                    error_msg=f"{type(exception).__name__}: the worker died. {exception}"
                )
            super()._actor_task_failed(tracked_actor_task, exception)

    names = tune_controller.__dict__
    if names.get("RayActorManager") is actor_manager.RayActorManager:
        names["RayActorManager"] = ActorManager


class _Unpickled:
    """Tune pickles its parts into snapshots that nobody reads here; of these parts it gets nothing."""

    def __reduce__(self):
        return object, ()


class TrialQueue(_Unpickled, Searcher):
    """Hands Tune the next request when a slot is free.

    A trial that is taken up again is handed out again, as a new one to Tune: how often, and with what changed, is ours to
    decide. So Tune is told that there is no more only when nothing is open.

    Args:
        draw: gives the next request, ``NOT_YET`` when it is not ready, None when there is no more.
        desk: told of lost workers; decides what becomes of their trials.
        concurrent: trials at once, as it is now.
        starts: workers that may start at once, as it is now. Each keeps a core busy for seconds, so that more than there are
            cores would all be late.
        stopping: whether to hand out nothing more.
        spent: whether the budget lets nothing new start.
    """

    def __init__(
        self,
        draw: Callable[[], TrialRequest | object | None],
        desk: Desk,
        concurrent: Callable[[], int],
        starts: Callable[[], int],
        stopping: Callable[[], bool],
        spent: Callable[[], bool] = lambda: False,
    ):
        super().__init__()
        self._draw, self._desk, self._concurrent, self._starts = draw, desk, concurrent, starts
        self._stopping, self._spent = stopping, spent
        self._running: dict[str, Mapping[str, Any]] = {}
        self._again: deque[Mapping[str, Any]] = deque()
        self._losses: dict[str, Failure] = {}
        self._starting: set[str] = set()
        self._tune: Any = None
        self._unplaced, self._drawn_out = 0, False

    @property
    def at_once(self) -> int:
        """How many trials may run now."""
        return self._concurrent()

    @property
    def full(self) -> bool:
        """Whether as many trials run as may."""
        return len(self._running) >= self.at_once

    @property
    def left(self) -> int | None:
        """Trials that are left to run; None while more may come."""
        over = self._drawn_out or self._stopping()
        return len(self._running) + len(self._again) if over else None

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._stopping():
            return Searcher.FINISHED
        if self.full:
            self.release_idle()
            if self._tune and not self._running:
                # Tune does nothing but ask for a trial then, for ten minutes: what its workers say is heard here.
                self._tune._actor_manager.next(timeout=0.1)
            return None
        takes_free = self._unplaced < self._free_workers
        if not takes_free and len(self._starting) >= self._starts():
            return None
        drawn = self._again.popleft() if self._again else None if self._spent() else self._draw()
        self._drawn_out |= drawn is None
        if drawn is None or drawn is NOT_YET:
            return Searcher.FINISHED if drawn is None and not self._running else None
        request: Mapping[str, Any]
        request = drawn.model_dump(mode="json") if isinstance(drawn, TrialRequest) else cast("Mapping", drawn)
        self._running[trial_id] = request
        self._unplaced += 1
        if not takes_free:
            self._starting.add(trial_id)
        return {"request": request}

    @property
    def _free_workers(self) -> int:
        """Workers that Tune keeps. Not every worker whose trial has ended is kept, nor is a kept one for good."""
        return self._tune._actor_cache.num_cached_objects if self._tune else 0

    def note_placing(self, tune_controller: Any) -> None:
        """Tune places all that was drawn, in that order: first on workers it keeps, then on new ones."""
        self._tune, self._unplaced = tune_controller, 0

    def release_idle(self) -> None:
        """End workers that Tune keeps for trials to come, where no more may run: others want what they occupy."""
        if self.full and self._free_workers and not self._tune._pending_trials:
            self._tune._cleanup_cached_actors(force_all=True)

    def note_start(self, trial_id: str) -> None:
        """The worker of this trial has said something."""
        self._starting.discard(trial_id)

    def note_loss(self, trial_id: str, failure: Failure) -> None:
        """The worker of this trial was lost; Tune is about to give the trial up."""
        self._losses[trial_id] = failure

    def take_up_again(self, trial_id: str, lanes: int | None) -> None:
        """Hand a trial out again, with so many seeds at once."""
        self._again.append({**self._running[trial_id], "lanes": lanes})

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        """Nothing: the scheduler has already shown it to the desk."""

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Tune is done with a trial: it was told to stop it, or its worker was lost."""
        failure = self._losses.pop(trial_id, None)
        if error and failure:
            name = self._running[trial_id]["trial"]
            if self._stopping():  # resume takes it up
                self._desk.end(name, Decision("stop", "preempted", "end", failure.reason))
            elif (decision := self._desk.fail(name, failure)).action == "retry":
                self.take_up_again(trial_id, decision.lanes)
        self._running.pop(trial_id, None)
        self._starting.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal and Optuna's storage are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see :meth:`save`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: see :meth:`save`."""


class Marshal(_Unpickled, FIFOScheduler):
    """Shows every result to the desk first and carries out what it decides.

    Args:
        places: told which trials run; asks some to leave when there are too many.
    """

    def __init__(self, desk: Desk, queue: TrialQueue, places: Places):
        super().__init__()
        self._desk, self._queue, self._kills = desk, queue, MemoryKills()
        self._places, self._logs = places, WorkerLogs()
        self._workers: dict[str, tuple] = {}
        self._placed: dict[str, None] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial was drawn."""
        self._places.stay(trial.config["request"]["trial"])

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None before the others: Tune itself places those that were drawn, in their order (``_maybe_add_actors``)."""
        self._queue.note_placing(tune_controller)
        self._queue.release_idle()
        self._keep_free(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        self._queue.note_start(trial.trial_id)
        name = trial.config["request"]["trial"]
        worker = (str(result.get("hostname")), int(result.get("pid") or 0))
        if self._workers.get(name) != worker:
            self._workers[name] = worker
            device = trial.config["request"]["device"]
            self._desk.placed(name, TrialPlaced(node=worker[0], pid=worker[1], device=device))
        self._placed.setdefault(name)
        failure = {
            key.removeprefix("failure/"): value for key, value in result.items() if key.startswith("failure/")
        }
        failed = Failure.from_json(failure) if failure else None
        if result["left"] and self._places.made_room(name):
            failed = Failure("preempted", MADE_ROOM)
        events = [event_of(event) for event in result["events"]]
        decision = self._desk.receive(name, events, result["complete"], failed, result["left"])
        if decision.action == "retry":
            self._queue.take_up_again(trial.trial_id, decision.lanes)
        if decision.action != "continue":
            self._over(name)
        self._places.need(self._queue.left)
        self._places.crowded(self._placed)
        return TrialScheduler.CONTINUE if decision.action == "continue" else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The worker of a trial was lost."""
        name = trial.config["request"]["trial"]
        silent = name not in self._placed
        self._over(name)
        file = trial.error_file  # beside the driver; Tune copies it to its storage only later
        said = Path(file).read_text(errors="replace") if file and Path(file).exists() else ""
        failure = lost_worker(said, self._kills.rose())
        told = self._logs.explain(said, failure, self._places.folder_of(name), silent)
        self._queue.note_loss(trial.trial_id, told)

    def _over(self, name: str) -> None:
        self._placed.pop(name, None)
        self._places.stay(name)

    def _keep_free(self, tune_controller: Any) -> None:
        """Keep free workers for the next trial, where one is about to come.

        Left to itself Tune gives one to a trial whose own worker is still starting, and kills what was started. Where none
        is to come that is right: a worker may never start, on a node that is gone.
        """
        if not tune_controller._actor_cache.num_cached_objects:
            return
        waiting = set(tune_controller._pending_trials)
        if self._queue.left is None and not self._queue.full:
            waiting.difference_update(tune_controller._trial_to_actor)
        for takers in tune_controller._resources_to_pending_trials.values():  # one, as all ask for the same
            takers.clear()
            takers.update(waiting)
