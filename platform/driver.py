"""The one readable loop: a plan becomes proposed trials, placed trials, recorded events, confirmed results."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from ..trainables.artifacts import write_text
from ..trainables.events import Event
from ..trainables.user_code.code import short_name
from .errors import Unreachable, behind
from .going_on.named_code import remember_code
from .going_on.provenance import provenance
from .going_on.taking_up import Going, check_going, take_up
from .journal.events import CapacityChanged, Entry, Sending, SweepResumed, SweepStarted
from .journal.journal import Journal
from .journal.state import SweepState
from .paths import Home, SweepPaths
from .running.budget import Meter
from .running.checkpoint_budget import within_budget
from .running.conclude import conclude
from .running.desk import Desk
from .running.ending import Ending
from .running.first_failures import SAME_FAILURE, FirstFailures
from .running.phases import confirmations, search_requests
from .running.places import Count, bundle_of, places
from .running.ray_bridge import Marshal, TrialQueue, configure_tune
from .running.ray_daemons import end_daemons, ended_daemon
from .running.ray_start import running_ray
from .running.stopping import Stopping
from .search.start import open_search
from .store.base import Stages
from .store.opening import open_store
from .sweep.plan import Plan
from .sweep.yaml_file import dump_yaml
from .tracking.tracker import Tracker

DRAIN_S, HURRIED_DRAIN_S = 60.0, 1.0
"""How long the end of a sweep waits for the tracker; what is left then goes with `flowsweep sync`."""


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended.

    Attributes:
        status: ``finished``, ``interrupted``, or ``failed``: no trial could be trained.
        unsent: events that still wait for the tracker.
        no_report: why the report page could not be written, if so.
        broken_off: whether it was told to leave while it was being concluded.
    """

    status: str
    trials_ended: int
    unsent: int
    no_report: str | None
    broken_off: bool


def run_sweep(
    plan: Plan,
    home: Home,
    *,
    address: str | None = None,
    going: Going = Going(),
    watch: Callable[[Entry], None] = print,
) -> Outcome:
    """Carry a plan out, here or on the Ray cluster at ``address``.

    Args:
        plan: what to run.
        home: where everything is kept.
        address: Ray address (``auto`` on a cluster node); an embedded Ray when None.
        going: whether it is started, or how one on record is gone on with.
        watch: shown every event as it is recorded, and every pulse.

    Raises:
        Refused: the name is taken, there is nothing to resume or to retry, somebody else runs it, or data or code changed.
        UserError: the cluster has too little for one trial.
        Unreachable: the cluster does not answer, Ray does not start, or ends beside the sweep.
        KeyboardInterrupt: it was told to leave at once.
    """
    paths = home.sweep(plan.spec.name)
    check_going(plan, paths, going)
    with (
        connection(address),
        _open(paths) as journal,
        Stopping(paths, watch).on_signals() as stopping,
        places(plan, home, address, partial(_tell_places, journal, watch), stopping.is_set) as room,
    ):
        before, despite = take_up(plan, paths, journal, going, watch)
        _write_spec(paths, plan)
        remember_code(plan, paths)
        state = SweepState.of(before, paths, keep_reports=False)
        began = {**provenance(plan), **despite}
        entry = journal.append(SweepResumed(**began) if state.started else SweepStarted(**began))
        state.apply(entry)
        watch(entry)
        search = open_search(plan, home, paths, state, partial(_record, journal, watch))
        budget_gib = plan.spec.checkpoints.budget_gib
        watch = within_budget(budget_gib, paths.trials, before, journal.append, watch)
        meter = Meter(plan.spec.budget, plan.spec.resources.gpus, before)
        desk = Desk(journal, plan.spec, search, watch, meter, stopping.ask, FirstFailures(before), state)
        del before
        tracker, ending, no_report = _tracker(plan, home, paths), Ending(journal, watch), "broken off"
        stopping.gone, stopping.last_word = ended_daemon, partial(_last_word, ending)
        try:
            for phase in (search_requests, confirmations):
                requests = phase(plan, desk, search)
                spent = desk.exhausted if phase is search_requests else lambda: False
                draw = partial(next, requests, None)
                queue = TrialQueue(draw, desk, room.now, room.cores, stopping.is_set, spent)
                _place(
                    plan, paths, queue, Marshal(desk, queue, room), open_store(home, plan.spec.storage.stages)
                )
                stopping.withdraw()
                if stopping.is_set():
                    break
            ending.record(*_how(desk, stopping))
            with stopping.breaking_off():
                no_report = "told to leave" if stopping.hurried else conclude(paths, journal)
        except KeyboardInterrupt:
            stopping.left()
            if ending.status is None:
                ending.record("interrupted", "left at once")
                raise
        except Exception as error:
            _without_ray(error, stopping, ending)
        finally:
            search.close(*((HURRIED_DRAIN_S,) if stopping.hurried else ()))
            unsent = _drained(tracker, stopping, watch)
        return Outcome(ending.status or "", desk.ended, unsent, no_report, stopping.broken_off)


@contextlib.contextmanager
def _open(paths: SweepPaths) -> Iterator[Journal]:
    """The sweep's folder and its journal, ours alone while the sweep runs."""
    paths.root.mkdir(parents=True, exist_ok=True)
    with Journal(paths.journal) as journal:
        paths.stop_request.unlink(missing_ok=True)
        yield journal


def _how(desk: Desk, stopping: Stopping) -> tuple[str, str]:
    """Status and reason of a sweep that has come to its end."""
    if stopping.is_set():
        return "interrupted", "stop requested"
    status = "failed" if desk.spent and desk.spent.rule == SAME_FAILURE else "finished"
    return status, f"{desk.spent.rule}: {desk.spent.reason}" if desk.spent else ""


def _last_word(ending: Ending, why: str) -> None:
    ending.last_word(why)
    end_daemons()


def _without_ray(error: Exception, stopping: Stopping, ending: Ending) -> NoReturn:
    """End a sweep whose Ray has ended; any other error is raised as it is."""
    if stopping.is_set():
        ending.record("interrupted", "stop requested")
        raise KeyboardInterrupt from error
    if gone := ended_daemon():
        ending.record("interrupted", f"Ray has ended: {gone}")
        raise Unreachable(
            f"Ray has ended beside the sweep: {gone}", fix="What was reported is on record; resume the sweep."
        ) from error
    raise error


def _record(journal: Journal, watch: Callable[[Entry], None], event: Event) -> None:
    watch(journal.append(event))


def _tracker(plan: Plan, home: Home, paths: SweepPaths) -> Tracker:
    settings = plan.spec.tracking
    return Tracker(
        paths,
        settings.uri or home.mlflow_uri,
        settings.experiment or f"flowsweep/{short_name(plan.spec.system)}",
        None if settings.uri else home.mlflow_artifacts,
    )


def _place(plan: Plan, paths: SweepPaths, queue: TrialQueue, marshal: Marshal, store: Stages) -> None:
    """Let Ray Tune place what the queue hands out until it is empty."""
    from ray import tune

    from ..trainables.tune import StageWalk

    trainable = tune.with_parameters(
        StageWalk, store=store, folder=paths.root, at_once=queue.at_once, code=plan.resolved.system.code
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, bundle_of(plan.spec.resources)),
        tune_config=tune.TuneConfig(search_alg=queue, scheduler=marshal, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name=f"placement-{os.getpid()}",
            storage_path=str(paths.ray),
            failure_config=tune.FailureConfig(max_failures=0),  # the queue hands a trial out again itself
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except Exception as error:  # Tune wraps what the desk raises: a record that cannot be written, for one
        if mistake := behind(error):
            raise mistake from None
        raise
    shutil.rmtree(paths.ray, ignore_errors=True)  # Tune's own notes; nothing here reads them


def _drained(tracker: Tracker, stopping: Stopping, watch: Callable[[Entry], None]) -> int:
    """Let the tracker take what it has not yet got, unless there is no time; return how many events that leaves."""

    def tell(left: int) -> None:
        watch(Entry(seq=-1, time=time.time(), event=Sending(unsent=left)))

    try:
        with stopping.breaking_off():
            return tracker.close(
                HURRIED_DRAIN_S if stopping.hurried or stopping.broken_off else DRAIN_S, tell
            )
    except KeyboardInterrupt:
        return tracker.close(HURRIED_DRAIN_S)


def _tell_places(journal: Journal, watch: Callable[[Entry], None], count: Count) -> None:
    _record(journal, watch, CapacityChanged(trials=count.trials, fit=count.fit, reason=count.reason))


def _write_spec(paths: SweepPaths, plan: Plan) -> None:
    write_text(paths.spec, dump_yaml(plan.spec.model_dump(mode="json")))


@contextlib.contextmanager
def connection(address: str | None) -> Iterator[None]:
    """A connection to Ray.

    Raises:
        Unreachable: see :func:`.running.ray_start.running_ray`.
    """
    configure_tune()
    # Lost workers and failures are on record and shown with their reasons; Ray's own tracebacks would bury them.
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with running_ray(address):
        yield
