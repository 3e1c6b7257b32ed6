"""A stage computed by several workers on Ray, as its trial sees it: events, until the output can be put together."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from .base import Learner, Snapshot
from .checkpoints import Checkpoints
from .errors import Diverged, UserError
from .events import Checkpointed, Event, Progress, Pulse, WorkerLost
from .request import Workers
from .spread_worker import Job, work

POLL_S = 0.25
LEAVE_S = 60.0  # how long workers may take to store their state and leave

# Ray Train reads these where its controller is started. Waiting for free workers is no failure, and a stage that has
# ended is not to be waited for; its metrics, and its watch over preempted nodes, are processes nobody asks here.
TRAIN_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(30 * 86_400),
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


class Spread:
    """Starts the workers of one job and passes on what they say.

    Iteration may be abandoned after any event; the workers then store their state and leave, and a new Spread of the
    same job and as many workers goes on to the same result.

    Args:
        job: what to compute. Its ``leave`` is set here.
        workers: how many, and what each may use.
    """

    def __init__(self, job: Job, workers: Workers):
        self.job = replace(job, leave=job.folder / f"leave-{uuid.uuid4().hex}")
        self.workers, self.count = workers, workers.of(job.stage)
        self.cpu_s = 0.0
        """Process time of the workers that have left."""
        self._logs = [self.job.log(rank, self.count) for rank in range(self.count)]
        self._course = _Course(job, self.count)
        self._saved: Checkpointed | None = None
        self._crew: Crew | None = None

    def __iter__(self) -> Iterator[Event]:
        self.job.folder.mkdir(parents=True, exist_ok=True)
        self._crew = crew = (DataParallel if self.job.together else Shards)(self.job, self.workers)
        try:
            over = False
            while not over:
                over = crew.over()  # asked before listening, so that the last words are heard
                yield from crew.losses()
                yield from self._heard()
                yield Pulse(self.job.stage, self._course.step, self.job.steps)
                if not over:
                    time.sleep(POLL_S)
        finally:
            self._dismiss()
        if crew.error is not None:
            raise crew.error

    def save(self) -> Checkpointed | None:
        """Have the workers store their state and leave."""
        self._dismiss()
        list(self._heard())
        return self._saved

    def finish(self, learner: Learner) -> None:
        """Put into a learner what the workers have computed in parts; what they computed together lies ready already."""
        if not self.job.together:
            learner.assemble(self._parts())

    def _parts(self) -> Iterator[Snapshot]:
        for rank in range(self.count):
            state = Checkpoints(self.job.place(rank, self.count)).latest()
            if state is None:
                raise RuntimeError(f"worker {rank} of {self.job.stage} left nothing")
            yield Snapshot(state.tensors, state.meta["learner"])

    def _heard(self) -> Iterator[Event]:
        for rank, log in enumerate(self._logs):
            events, cpu_s = log.heard()
            self.cpu_s += cpu_s
            for event in events:
                for said in self._course.take(rank, event):
                    self._saved = said if isinstance(said, Checkpointed) else self._saved
                    yield said

    def _dismiss(self) -> None:
        crew, self._crew = self._crew, None
        if crew is None:
            return
        self.job.leave.touch()
        until_s = time.monotonic() + LEAVE_S
        while not crew.over() and time.monotonic() < until_s:
            time.sleep(0.05)


class _Course:
    """What several workers say, as one."""

    def __init__(self, job: Job, count: int):
        self.together, self.folder, self.count = job.together, job.folder, count
        self._steps = dict.fromkeys(range(count), 0)
        self._reports: dict[int, dict[int, Progress]] = {}

    @property
    def step(self) -> int:
        """How far they are."""
        return self._steps[0] if self.together else sum(self._steps.values()) // self.count

    def take(self, rank: int, event: Event) -> Iterator[Event]:
        """What one says, or what all have said once all have said it."""
        if isinstance(event, Progress | Pulse):
            self._steps[rank] = event.step
        if isinstance(event, Pulse):
            return
        if self.together:
            yield event
        elif isinstance(event, Checkpointed):
            yield replace(event, path=f"{self.folder.name}/{event.path}")
        elif isinstance(event, Progress):
            reports = self._reports.setdefault(event.step, {})
            reports[rank] = event
            if len(reports) == self.count:
                yield _joined([reports[rank] for rank in range(self.count)])


def _joined(reports: list[Progress]) -> Progress:
    """One report of shards: means over those that have a value (a shard may be empty), and the cost of all."""
    names = dict.fromkeys(name for report in reports for name in report.metrics)
    metrics = {}
    for name in names:
        rows = [report.metrics[name] for report in reports if name in report.metrics]
        metrics[name] = [sum(values) / len(values) for values in zip(*rows, strict=True)]
    cpu_s, wall_s = sum(report.cpu_s for report in reports), max(report.wall_s for report in reports)
    return replace(reports[0], metrics=metrics, cpu_s=cpu_s, wall_s=wall_s)


class Crew(Protocol):
    """Workers that were started."""

    error: Exception | None
    """Why they did not come to the end, once they are over."""

    def over(self) -> bool:
        """Whether all have left."""
        ...

    def losses(self) -> Iterator[WorkerLost]:
        """Workers that were lost and replaced since the last call."""
        ...


class DataParallel(threading.Thread):
    """Workers of a Ray Train TorchTrainer; on a loss all are started anew from the last checkpoint."""

    def __init__(self, job: Job, workers: Workers):
        super().__init__(name=f"spread-{job.stage}", daemon=True)
        self.job, self.workers, self.error = job, workers, None
        self._lost: list[WorkerLost] = []
        self.start()

    def run(self) -> None:
        for attempt in range(1, self.workers.retries + 2):
            try:
                self._trainer().fit()
                return
            except Exception as error:
                cause = _cause(error)
                if _is_final(cause) or attempt > self.workers.retries or self.job.leave.exists():
                    self.error = cause
                    return
                self._lost.append(WorkerLost(self.job.stage, attempt, _words(cause)))

    def over(self) -> bool:
        return not self.is_alive()

    def losses(self) -> Iterator[WorkerLost]:
        while self._lost:
            yield self._lost.pop(0)

    def _trainer(self):
        for name, value in TRAIN_SETTINGS.items():
            os.environ.setdefault(name, value)
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        count, each = self.workers.of(self.job.stage), worker_resources(self.workers, self.job.stage)
        return TorchTrainer(
            train_data_parallel,
            train_loop_config={"job": self.job},
            scaling_config=ScalingConfig(
                num_workers=count, use_gpu=each["GPU"] > 0, resources_per_worker=each
            ),
            run_config=RunConfig(
                name=f"train-{uuid.uuid4().hex[:8]}",
                storage_path=str(self.job.folder / "ray"),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=self.workers.retries),
            ),
        )


class Shards:
    """Independent workers as Ray tasks; one that is lost is started anew, the others go on."""

    def __init__(self, job: Job, workers: Workers):
        self.job, self.error = job, None
        self.count, self.retries = workers.of(job.stage), workers.retries
        each = worker_resources(workers, job.stage)
        self._start = ray.remote(work_shard).options(
            num_cpus=each["CPU"],
            num_gpus=each["GPU"],
            max_retries=0,
            max_calls=1,  # the process goes with its task, and with it its memory
            scheduling_strategy="SPREAD",  # not on the trial's own reservation, which its actor fills
        )
        self._running = {self._start.remote(job, rank, self.count): rank for rank in range(self.count)}
        self._losses: list[WorkerLost] = []
        self._lost = 0

    def over(self) -> bool:
        ended, _ = (
            ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
            if self._running
            else ([], [])
        )
        for task in ended:
            rank = self._running.pop(task)
            try:
                ray.get(task)
            except Exception as error:
                self._take_loss(rank, _cause(error))
        return not self._running

    def losses(self) -> Iterator[WorkerLost]:
        while self._losses:
            yield self._losses.pop(0)

    def _take_loss(self, rank: int, cause: Exception) -> None:
        self._lost += 1
        if _is_final(cause) or self._lost > self.retries or self.job.leave.exists():
            self.error = self.error or cause
            self.job.leave.touch()  # the others' work is kept, but there is nothing to wait for
            return
        self._losses.append(WorkerLost(self.job.stage, self._lost, _words(cause)))
        self._running[self._start.remote(self.job, rank, self.count)] = rank


def train_data_parallel(config: dict) -> None:
    """What Ray Train runs on every worker, its process group standing."""
    from ray.train import get_context
    from ray.train.torch import get_device

    context, job = get_context(), config["job"]
    device = str(get_device()) if job.request.device.startswith("cuda") else job.request.device
    work(job, context.get_world_rank(), context.get_world_size(), device)


def work_shard(job: Job, rank: int, world: int) -> None:
    """What Ray runs for every shard."""
    work(job, rank, world, job.request.device)


def worker_resources(workers: Workers, stage: str) -> dict[str, float]:
    """What Ray is to set aside for each worker of a stage, on the cluster this process is part of."""
    return workers.each(stage, nodes=sum(node["Alive"] for node in ray.nodes()))


def _cause(error: Exception) -> Exception:
    """The error a worker raised, out of what Ray wraps around it; of several the one that explains the others."""
    found = [error]
    if isinstance(failures := getattr(error, "worker_failures", None), dict):
        found = [getattr(failure, "_base_exc", failure) for failure in failures.values()] or found
    found = [one.cause if isinstance(one, RayTaskError) else one for one in found]
    return next((one for one in found if _is_final(one)), found[0])


def _is_final(error: Exception) -> bool:
    """Whether trying again would end the same way."""
    return isinstance(error, UserError | Diverged) or type(error).__name__ == "OutOfMemoryError"


def _words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (
        lines[0]
        if isinstance(error, RayError) and lines
        else f"{type(error).__name__}: {lines[0] if lines else ''}"
    )[:200]
