"""Sends a journal to MLflow and keeps its place: an outage or a crash delays what is sent, and neither loses nor doubles it.

Run as a process of its own beside the driver (``python -m flowsweep.platform.tracking.sender``), so that the tracker's
libraries, locks and time-outs never meet the training's.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...trainables.redaction import redacted
from ..journal.journal import read, tail
from ..paths import SweepPaths
from .place import Place, Target, only_sender
from .runs import SWEEP, RunUpdate, sweep_id, translate

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

CHUNK_BYTES = 1 << 19
MAX_METRICS, MAX_PAIRS = 900, 60
"""Per request: MLflow takes 1,000 entities, 100 params or tags, and one megabyte."""
SENT = "flowsweep.sent"
"""Tag of a sweep's run: bytes of the journal that the tracker has taken in."""
REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"}
"""Answers that a second try cannot change; they are noted and do not hold up the rest."""


class Sender:
    """Moves events from one journal to one tracker, a chunk at a time. The only user of its place file.

    Args:
        paths: the sweep.
        target: where to send it.
    """

    def __init__(self, paths: SweepPaths, target: Target):
        self.paths, self.target = paths, target
        self.place = Place.load(paths.tracking)
        if self.place.target != Place.at(target).target:
            self.place = Place.at(target)
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._sweep_id = ""

    def look(self) -> None:
        """See that the tracker has what it was sent; where it has not, everything is to be sent again.

        Raises:
            Exception: it does not answer for now.
        """
        if self.place.position:
            self._connected()

    def step(self) -> int:
        """Send the next events; returns how many (0: all is sent).

        Raises:
            Exception: the tracker did not take them for now; the place is unchanged and the next call tries again.
        """
        try:
            start = self.place.position
            entries, position = tail(self.paths.journal, start, CHUNK_BYTES)
            if not entries:
                return 0
            client = self._connected()
            if self.place.position != start:
                return self.step()  # The tracker has lost what it had; from the beginning, then.
            steps = {run: dict(series) for run, series in self.place.steps.items()}
            shared = dict(self.place.shared)
            unfit: list[str] = []
            updates = translate(entries, steps, shared, unfit)
            known = set(self.place.runs)
            for name, update in updates.items():
                self._ensure_run(client, name, update)
            for name, update in updates.items():
                self._send(client, self.place.runs[name], update, name not in known)
            self._mark(client, position)
        except Exception as error:
            # What arrived before the failure is unknown; the runs are looked up again on the next try.
            self._client = None
            self.note_error(f"{type(error).__name__}: {str(error)[:300]}")
            raise
        self.place.position, self.place.steps, self.place.shared = position, steps, shared
        self.place.error = None
        for what in unfit:
            self._refuse(what)
        self.place.save(self.paths.tracking)
        return len(entries)

    def note_error(self, error: str) -> None:
        """Let whoever reads the place file know why nothing moves."""
        error = redacted(error)
        if error != self.place.error:
            self.place.error = error
            self.place.save(self.paths.tracking)

    def _connected(self) -> MlflowClient:
        if self._client is None:
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
            os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
            from mlflow import MlflowClient

            with _one_at_a_time(self.target.uri):
                client = MlflowClient(self.target.uri)
                self._experiment_id = _experiment(client, self.target)
            self._sweep_id = self._sweep_id or sweep_id(next(read(self.paths.journal)))
            self._adopt_runs(client)
            self._client = client
        return self._client

    def _adopt_runs(self, client: MlflowClient) -> None:
        """Find the runs already made for this sweep: a crash may have come between making one and noting its id.

        Runs deleted by hand count as made; what is sent to them is refused. A tracker that lacks any of the runs it was
        sent, or knows of less than it was sent, has lost something (it is another one, or was restored from a backup) and
        gets everything again; what it still has is not doubled.
        """
        from mlflow.entities import ViewType

        query, runs, token = f"tags.`flowsweep.sweep_id` = '{self._sweep_id}'", {}, None
        knows_of = self.place.position
        while True:
            page = client.search_runs([self._experiment_id], query, ViewType.ALL, 1000, page_token=token)
            runs |= {run.data.tags["flowsweep.run"]: run.info.run_id for run in page}
            for run in page:
                if SENT in run.data.tags and run.info.lifecycle_stage == "active":
                    knows_of = int(run.data.tags[SENT])
            token = page.token
            if not token:
                break
        if set(self.place.runs) - set(runs) or knows_of < self.place.position:
            self.place = Place.at(self.target)
        self.place.runs = runs

    def _mark(self, client: MlflowClient, position: int) -> None:
        """Leave word at the tracker of how far it has come, unless its run of the sweep was deleted by hand."""
        from mlflow.exceptions import MlflowException

        if run := self.place.runs.get(SWEEP):
            try:
                client.set_tag(run, SENT, str(position))
            except MlflowException as error:
                if error.error_code not in REFUSALS:
                    raise

    def _ensure_run(self, client: MlflowClient, name: str, update: RunUpdate) -> None:
        if name in self.place.runs:
            return
        tags = {
            "flowsweep.sweep_id": self._sweep_id,
            "flowsweep.sweep": self.paths.name,
            "flowsweep.run": name,
            "flowsweep.kind": name.partition(":")[0],
        }
        if name != SWEEP:
            tags["mlflow.parentRunId"] = self.place.runs.get(SWEEP) or self._parent(client)
        if name.startswith("trial:"):
            tags["flowsweep.trial"] = name.removeprefix("trial:")
        run = client.create_run(self._experiment_id, update.start_ms or None, tags, update.title or name)
        self.place.runs[name] = run.info.run_id

    def _parent(self, client: MlflowClient) -> str:
        self._ensure_run(client, SWEEP, RunUpdate(title=self.paths.name))
        return self.place.runs[SWEEP]

    def _send(self, client: MlflowClient, run_id: str, update: RunUpdate, new: bool) -> None:
        from mlflow.entities import Metric, Param, RunTag

        links = {tag: self.place.runs.get(name, name) for tag, name in update.links.items()}
        params = [Param(key, value) for key, value in update.params.items()]
        tags = [RunTag(key, value) for key, value in {**update.tags, **links}.items()]
        metrics = [Metric(*metric) for metric in update.metrics]
        for batch in _batches(params, tags, metrics, together=new):
            self._tolerate(lambda batch=batch: client.log_batch(run_id, *batch))
        if update.dataset and update.title:
            self._tolerate(lambda: client.log_inputs(run_id, [_dataset_input(update.dataset or {})]))
        for name, text in update.texts.items():
            self._tolerate(lambda name=name, text=text: client.log_text(run_id, text, name))
        for path, folder in update.artifacts:
            self._tolerate(lambda path=path, folder=folder: self._upload(client, run_id, path, folder))
        if update.status == "RUNNING" and not new:  # a new run is made as one that runs
            self._tolerate(lambda: client.update_run(run_id, status="RUNNING"))
        elif update.status:
            self._tolerate(lambda: client.set_terminated(run_id, update.status, update.end_ms))

    def _upload(self, client: MlflowClient, run_id: str, path: str, folder: str) -> None:
        local = (self.paths.root / path).resolve()
        if not local.is_relative_to(self.paths.root.resolve()) or not local.exists():
            self._refuse(f"artifact {path} is not in the sweep's folder (any more)")
        elif local.is_dir():
            client.log_artifacts(run_id, str(local), f"{folder}/{local.name}")
        else:
            client.log_artifact(run_id, str(local), folder)

    def _tolerate(self, call: Callable[[], Any]) -> None:
        """Make a call; what the tracker refuses for good is noted, so that one event cannot hold up the others."""
        from mlflow.exceptions import MlflowException

        try:
            call()
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
            self._refuse(str(error)[:300])

    def _refuse(self, what: str) -> None:
        self.place.refuse(redacted(what))


def _batches(
    params: list[Param], tags: list[RunTag], metrics: list[Metric], together: bool
) -> Iterator[tuple[list[Metric], list[Param], list[RunTag]]]:
    """What goes into one request each, in MLflow's own order.

    Args:
        together: whether parameters may go with the rest. One that was changed since is refused with its whole request, so
            only those of a new run may.
    """
    while params and not together:
        yield [], params[:MAX_PAIRS], []
        params = params[MAX_PAIRS:]
    while params or tags or metrics:
        room = MAX_PAIRS - len(params[:MAX_PAIRS])
        yield metrics[:MAX_METRICS], params[:MAX_PAIRS], tags[:room]
        params, tags, metrics = params[MAX_PAIRS:], tags[room:], metrics[MAX_METRICS:]


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Two processes creating the tables of one SQLite file at the same moment would break it."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with open(database.with_name(database.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists() or not database.stat().st_size:
            _make(database)
        yield


def _make(database: Path) -> None:
    """Have MLflow make its tables aside: killed on the way, it leaves a file that no MLflow can use again."""
    from mlflow import MlflowClient

    aside = database.with_name(f".{database.name}.{uuid.uuid4().hex}.aside")
    MlflowClient(f"sqlite:///{aside}").search_experiments(max_results=1)
    os.replace(aside, database)


def _experiment(client: MlflowClient, target: Target) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(target.experiment)
    if found is None:
        location = Path(target.artifacts).resolve().as_uri() if target.artifacts else None
        try:
            return client.create_experiment(target.experiment, artifact_location=location)
        except MlflowException:  # Somebody else was quicker, or it does not work at all: then this raises.
            found = client.get_experiment_by_name(target.experiment)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _dataset_input(dataset: Mapping[str, Any]) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name = str(dataset.get("name", "dataset"))
    source = json.dumps({"name": name, "fingerprint": dataset.get("fingerprint")})
    entity = Dataset(name[:500], str(dataset.get("fingerprint", ""))[:36], "flowsweep", source)
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])


def run_until(sender: Sender, stop: threading.Event, drain_s: float, idle_s: float = 0.5) -> None:
    """Keep sending until told to stop and everything is sent, or ``drain_s`` have passed since."""
    pause_s, deadline = 1.0, None
    while True:
        if stop.is_set() and deadline is None:
            deadline, pause_s = time.monotonic() + drain_s, 0.2
        try:
            sent, failed = sender.step(), False
            pause_s = 1.0
        except Exception:  # Whatever it is, training must not notice; the reason is in the place file.
            sent, failed = 0, True
        if deadline is not None and ((sent == 0 and not failed) or time.monotonic() > deadline):
            return
        if failed:
            stop.wait(pause_s) if deadline is None else time.sleep(pause_s)
            pause_s = min(2 * pause_s, 30.0)
        elif sent == 0:
            stop.wait(idle_s)


def main() -> None:
    """Read the settings from standard input, send until it closes (also when the driver is killed), drain, end."""
    os.nice(10)  # training and the driver come first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ray's job server interrupts a driver's children too
    settings = json.loads(sys.stdin.readline())
    paths = SweepPaths(Path(settings["root"]))
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    with only_sender(paths):
        run_until(Sender(paths, Target(**settings["target"])), stop, settings["drain_s"])


if __name__ == "__main__":
    main()
