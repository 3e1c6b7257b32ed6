"""Workers of one stage on Ray: started, watched, replaced when lost, and gone when their work is done."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from .events import WorkerLost
from .failures import classified
from .request import Workers
from .spread_worker import Job, work

# Ray Train reads these where its controller is started. Waiting for free workers is no failure, and a stage that has
# ended is not to be waited for; its metrics, and its watch over preempted nodes, are processes nobody asks here.
TRAIN_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(30 * 86_400),
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


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
        patience = _Patience(self.workers.retries, self.job.place(0, self.workers.of(self.job.stage)))
        while True:
            try:
                self._trainer().fit()
                return
            except Exception as error:
                cause = _cause(error)
                if _is_final(cause) or self.job.leave.exists() or not patience.again():
                    self.error = cause
                    return
                self._lost.append(WorkerLost(stage=self.job.stage, step=patience.step, reason=_words(cause)))

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
                num_workers=count,
                use_gpu=each["GPU"] > 0,
                resources_per_worker=each,
                label_selector=self.workers.labels_of(self.job.stage) or None,
            ),
            run_config=RunConfig(
                name=f"train-{uuid.uuid4().hex[:8]}",
                storage_path=str(self.job.folder / "ray"),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=self.workers.retries),
            ),
        )


class Shards:
    """Independent workers, or an only one, as Ray tasks; one that is lost is started anew, the others go on."""

    def __init__(self, job: Job, workers: Workers):
        self.job, self.error = job, None
        self.count = workers.of(job.stage)
        self._patience = [
            _Patience(workers.retries, job.place(rank, self.count)) for rank in range(self.count)
        ]
        each = worker_resources(workers, job.stage)
        # The process goes with its task, and with it its memory.
        self._start = ray.remote(max_calls=1)(work_shard).options(
            num_cpus=each.pop("CPU"),
            num_gpus=each.pop("GPU"),
            resources=each,
            label_selector=workers.labels_of(job.stage) or None,
            max_retries=0,
            scheduling_strategy="SPREAD",  # not on the trial's own reservation, which its actor fills
        )
        self._running = {self._start.remote(job, rank, self.count): rank for rank in range(self.count)}
        self._losses: list[WorkerLost] = []

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
        patience = self._patience[rank]
        # Unlike where all wait for each other, an exception here is the worker's own and would come again.
        if not isinstance(cause, RayError) or self.job.leave.exists() or not patience.again():
            self.error = self.error or cause
            self.job.leave.touch()  # the others' work is kept, but there is nothing to wait for
            return
        self._losses.append(WorkerLost(stage=self.job.stage, step=patience.step, reason=_words(cause)))
        self._running[self._start.remote(self.job, rank, self.count)] = rank


class _Patience:
    """How often in a row workers may be lost before they have stored anything further.

    Args:
        retries: how often.
        place: where they store it.
    """

    def __init__(self, retries: int, place: Path):
        self._retries, self._place = retries, place
        self._losses, self.step = 0, _stored_step(place)

    def again(self) -> bool:
        """Whether to try again after one more loss."""
        before, self.step = self.step, _stored_step(self._place)
        self._losses = self._losses + 1 if self.step == before else 1
        return self._losses <= self._retries


def _stored_step(place: Path) -> int:
    return max((int(path.name.removeprefix("step-")) for path in place.glob("step-*")), default=0)


def train_data_parallel(config: dict) -> None:
    """What Ray Train runs on every worker, its process group standing."""
    from ray.train import get_context
    from ray.train.torch import get_device

    context, job = get_context(), config["job"]
    wanted = job.device
    device = str(get_device()) if wanted.startswith("cuda") else wanted
    work(job, context.get_world_rank(), context.get_world_size(), device)


def work_shard(job: Job, rank: int, world: int) -> None:
    """What Ray runs for every shard."""
    work(job, rank, world, job.device)


def worker_resources(workers: Workers, stage: str) -> dict[str, float]:
    """What Ray is to set aside for each worker of a stage, on the cluster this process is part of."""
    return workers.each(stage, nodes=sum(node["Alive"] for node in ray.nodes()))


def _cause(error: Exception) -> Exception:
    """The error a worker raised, out of what Ray wraps around it; of several the one that explains the others."""
    if isinstance(failures := getattr(error, "worker_failures", None), dict) and failures:
        found = [_unwrapped(failure) for failure in failures.values()]
    else:
        found = [_unwrapped(error)]
    return min(found, key=lambda one: (not _is_final(one), not isinstance(one, RayError)))


def _unwrapped(error: Exception) -> Exception:
    cause = error.cause if isinstance(error, RayTaskError) else getattr(error, "_base_exc", error)
    # What it looked like where it was raised, for the trial's traceback.
    if there := getattr(error, "traceback_str", None) or getattr(error, "_traceback_str", None):
        cause.add_note(there)
    return cause


def _words(cause: Exception) -> str:
    """One line of cause."""
    # What the others see of a worker that dies; often they are heard before Ray has noticed its death.
    if isinstance(cause, RuntimeError) and any(word in str(cause) for word in ("onnection", "NCCL")):
        return "the connection to it broke"
    return "its process ended" if isinstance(cause, RayError) else classified(cause).reason


def _is_final(error: Exception) -> bool:
    """Whether trying again would end the same way."""
    return classified(error).failure_class in ("diverged", "out_of_memory", "configuration")
