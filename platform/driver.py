"""The one readable loop: a plan becomes proposed trials, placed trials, recorded facts, confirmed results."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ..trainables.code_version import code_version
from .desk import Desk
from .errors import Refused
from .journal import Fact, Journal, read
from .paths import Home, SweepPaths
from .phases import confirmations, search_requests
from .plan import Plan, concurrent_trials
from .ray_bridge import Marshal, TrialQueue, configure_tune
from .scheduling import make_pruner
from .search import StudySearch
from .stages import StageStore
from .yaml_file import dump_yaml

RECORDED_PACKAGES = ("flowsweep", "ray", "torch", "optuna", "mlflow", "numpy", "gymnasium", "mujoco")


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended: ``finished`` or ``interrupted``."""

    status: str
    trials_ended: int


def run_sweep(
    plan: Plan,
    home: Home,
    *,
    address: str | None = None,
    resume: bool = False,
    watch: Callable[[Fact], None] = print,
) -> Outcome:
    """Carry a plan out, here or on the Ray cluster at ``address``.

    Args:
        plan: what to run.
        home: where everything is kept.
        address: Ray address (``auto`` on a cluster node); an embedded Ray when None.
        resume: continue the sweep of that name instead of starting it.
        watch: shown every fact as it is recorded, and every pulse.

    Raises:
        Refused: the name is taken, or there is nothing to resume.
        UserError: the cluster has too little for one trial.
    """
    spec, paths = plan.spec, home.sweep(plan.spec.name)
    _claim_name(paths, resume)
    paths.root.mkdir(parents=True, exist_ok=True)
    paths.stop_request.unlink(missing_ok=True)
    with Journal(paths.journal) as journal, _ray(address) as capacity, _stop_on_signal(paths) as stopping:
        concurrent = concurrent_trials(spec.resources, capacity)
        recorded = list(read(paths.journal))
        _write_spec(paths, plan)
        watch(journal.append("sweep_resumed" if recorded else "sweep_started", **_provenance(plan)))
        search = StudySearch(
            spec.name,
            paths.study,
            spec.search,
            plan.resolved.space,
            spec.objective.direction,
            make_pruner(spec.stop),
        )
        desk = Desk(journal, spec, search, watch)
        store = StageStore(home.stages)

        for phase in (search_requests, confirmations):
            requests = phase(plan, desk, search, recorded)
            queue = TrialQueue(lambda: next(requests, None), desk, concurrent, stopping.is_set)  # noqa: B023
            _place(plan, paths, queue, desk, store)
            if stopping.is_set():
                break
            recorded = list(read(paths.journal))

        status = "interrupted" if stopping.is_set() else "finished"
        watch(
            journal.append("sweep_ended", status=status, reason="stop requested" if stopping.is_set() else "")
        )
        return Outcome(status, desk.ended)


def _place(plan: Plan, paths: SweepPaths, queue: TrialQueue, desk: Desk, store: StageStore) -> None:
    """Let Ray Tune place what the queue hands out until it is empty."""
    from ray import tune

    from ..trainables.tune import StageWalk

    resources = plan.spec.resources
    trainable = tune.with_parameters(StageWalk, store=store, folder=paths.root)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=queue, scheduler=Marshal(desk), num_samples=-1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name=f"placement-{os.getpid()}",
            storage_path=str(paths.ray),
            failure_config=tune.FailureConfig(max_failures=resources.retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    tuner.fit()


def _claim_name(paths: SweepPaths, resume: bool) -> None:
    if paths.journal.exists() and not resume:
        raise Refused(
            "a sweep of this name exists",
            key="name",
            value=paths.name,
            fix=f"Continue it with `flowsweep resume {paths.name}`, or choose another with `--name`.",
        )
    if resume and not paths.journal.exists():
        raise Refused(
            "there is no sweep of this name to resume",
            key="name",
            value=paths.name,
            fix="See `flowsweep list`.",
        )


def _write_spec(paths: SweepPaths, plan: Plan) -> None:
    aside = paths.spec.with_suffix(".aside")
    aside.write_text(dump_yaml(plan.spec.model_dump(mode="json")), encoding="utf-8")
    os.replace(aside, paths.spec)


def _provenance(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.spec.name,
        "spec": plan.spec.model_dump(mode="json"),
        "plan": plan.to_json(),
        "dataset": {"name": plan.spec.dataset, "fingerprint": plan.fingerprint, **plan.source},
        "code_version": code_version(),
        "flowsweep_version": version("flowsweep"),
        "host": socket.gethostname(),
        "device": "cuda" if plan.spec.resources.gpus else "cpu",
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in RECORDED_PACKAGES}},
    }


@contextlib.contextmanager
def _ray(address: str | None) -> Iterator[dict[str, float]]:
    """A connection to Ray, and what the cluster has."""
    configure_tune()
    import ray

    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    embedded = {} if address else {"include_dashboard": False, "object_store_memory": 256 * 2**20}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **embedded)
    try:
        yield {kind: float(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU")}
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _stop_on_signal(paths: SweepPaths) -> Iterator[threading.Event]:
    """First Ctrl-C or SIGTERM: every trial stores its state and leaves. Second: leave at once."""
    stopping = threading.Event()

    def on_signal(number: int, frame: Any) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        paths.stop_request.touch()

    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
