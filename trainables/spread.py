"""A stage computed by several workers on Ray, as its trial sees it: events, until the output can be put together."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

from .base import Learner, Snapshot
from .checkpoints import Checkpoints
from .events import CheckpointDamaged, Checkpointed, CheckpointSkipped, Event, Progress, Pulse
from .request import Workers
from .spread_crews import Crew, DataParallel, Shards
from .spread_worker import Job

POLL_S = 0.25
LEAVE_S = 60.0  # how long workers may take to store their state and leave


class Spread:
    """Starts the workers of one job and passes on what they say.

    Iteration may be abandoned after any event; the workers then store their state and leave, and a new Spread of the
    same job and as many workers goes on to the same result.

    Args:
        job: what to compute. Its ``crew`` is named here.
        workers: how many, and what each may use.
    """

    def __init__(self, job: Job, workers: Workers):
        self.job = replace(job, crew=uuid.uuid4().hex)
        self.workers, self.count = workers, workers.of(job.stage)
        self.cpu_s = 0.0
        """Process time of the workers that have left."""
        self._logs = [self.job.log(rank, self.count) for rank in range(self.count)]
        self._course = _Course(job, self.count)
        self._saved: Checkpointed | None = None
        self._crew: Crew | None = None

    def __iter__(self) -> Iterator[Event]:
        self.job.folder.mkdir(parents=True, exist_ok=True)
        self._crew = crew = (DataParallel if self.job.together(self.count) else Shards)(
            self.job, self.workers
        )
        try:
            over = False
            while not over:
                over = crew.over()  # asked before listening, so that the last words are heard
                yield from crew.losses()
                yield from self._heard()
                yield Pulse(stage=self.job.stage, step=self._course.step, steps=self.job.steps)
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
        if self.job.parted(self.count):
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
        # Workers that have not begun have nothing to store; those that Ray still brings will leave at once.
        until_s = time.monotonic() + (LEAVE_S if self.job.begun.exists() else 0.0)
        while not crew.over() and time.monotonic() < until_s:
            time.sleep(0.05)


class _Course:
    """What several workers say, as one."""

    def __init__(self, job: Job, count: int):
        self.parted, self.folder, self.count = job.parted(count), job.folder, count
        self._steps = dict.fromkeys(range(count), 0)
        self._reports: dict[int, dict[int, Progress]] = {}

    @property
    def step(self) -> int:
        """How far they are."""
        return sum(self._steps.values()) // self.count if self.parted else self._steps[0]

    def take(self, rank: int, event: Event) -> Iterator[Event]:
        """What one says, or what all have said once all have said it."""
        if isinstance(event, Progress | Pulse):
            self._steps[rank] = event.step
        if isinstance(event, Pulse):
            return
        if not self.parted or isinstance(event, CheckpointDamaged | CheckpointSkipped):
            yield event
        elif isinstance(event, Checkpointed):
            yield event.model_copy(update={"path": f"{self.folder.name}/{event.path}"})
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
    return reports[0].model_copy(update={"metrics": metrics, "cpu_s": cpu_s, "wall_s": wall_s})
