"""Ray Tune's place: it puts trials on workers and moves them; what is proposed and decided comes from the desk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from .desk import Desk
from .scheduling import Decision

# Read by Ray when Tune starts: our journal replaces its loggers, snapshots and strict metric names.
TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "30",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
}


def configure_tune() -> None:
    """Set Tune's switches, unless the user has."""
    for name, value in TUNE_SETTINGS.items():
        os.environ.setdefault(name, value)


class _Unpickled:
    """Tune pickles its parts into snapshots that nobody reads here; of these parts it gets nothing."""

    def __reduce__(self):
        return object, ()


class TrialQueue(_Unpickled, Searcher):
    """Hands Tune the next request when a slot is free.

    Args:
        draw: gives the next request as plain JSON, or None when there is no more.
        desk: knows how many trials are open.
        concurrent: trials at once.
        stopping: whether to hand out nothing more.
    """

    def __init__(
        self,
        draw: Callable[[], Mapping[str, Any] | None],
        desk: Desk,
        concurrent: int,
        stopping: Callable[[], bool],
    ):
        super().__init__()
        self._draw, self._desk, self._concurrent, self._stopping = draw, desk, concurrent, stopping
        self._names: dict[str, str] = {}
        self._losses: dict[str, str] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._stopping():
            return Searcher.FINISHED
        if len(self._desk.open) >= self._concurrent:
            return None
        request = self._draw()
        if request is None:
            return Searcher.FINISHED
        self._names[trial_id] = request["trial"]
        return {"request": dict(request)}

    def note_loss(self, trial_id: str, what: str) -> None:
        """A worker of this trial was lost; Tune may or may not retry it."""
        self._losses[trial_id] = what

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        """Nothing: the scheduler has already shown it to the desk."""

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Ray gives a trial up: its worker could not be started, or was lost more often than it is retried."""
        if error:
            reason = f"given up: {self._losses.get(trial_id, 'its worker was lost')}"
            self._desk.end(self._names[trial_id], Decision("stop", "failed", "failure", reason))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal and Optuna's storage are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see :meth:`save`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: see :meth:`save`."""


class Marshal(_Unpickled, FIFOScheduler):
    """Shows every result to the desk first and carries out what it decides."""

    def __init__(self, desk: Desk, queue: TrialQueue):
        super().__init__()
        self._desk, self._queue = desk, queue
        self._workers: dict[str, tuple] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        name = trial.config["request"]["trial"]
        worker = (result.get("hostname"), result.get("pid"))
        if self._workers.get(name) != worker:
            self._workers[name] = worker
            device = trial.config["request"]["device"]
            self._desk.placed(name, {"node": worker[0], "pid": worker[1], "device": device})
        failure = {
            key.removeprefix("failure/"): value for key, value in result.items() if key.startswith("failure/")
        }
        decision = self._desk.receive(
            name, result["events"], result["complete"], failure or result.get("failure")
        )
        return TrialScheduler.STOP if decision.action == "stop" else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Tune calls this for every lost worker, also where the trial is then taken up again."""
        error = trial.get_error()
        cause = str(error).strip().splitlines()[-1] if error else "its worker was lost"
        self._queue.note_loss(trial.trial_id, f"{cause} ({trial.num_failures} time(s))")
