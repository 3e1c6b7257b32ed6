"""What a worker of a stage does, in a process of its own; also callable without Ray.

An only worker does what the trial itself would. Data parallel: all workers walk through the same updates together, each on its part of every batch; the first
reports and stores. Shards: each walks through a part of the stage that needs nothing of the others', and stores it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed

from .artifacts import ArtifactStore
from .base import Lane, Learner, load_system
from .checkpoints import NEVER
from .config import parse
from .events import Event, Progress, Pulse
from .handed import take_up
from .request import TrialRequest
from .spread_log import SpreadLog
from .training import BURST_STEPS, Training
from .user_code.code import Code
from .user_code.known import declare


@dataclass(frozen=True)
class Job:
    """One stage of one trial for one seed, as its workers need to know it.

    Attributes:
        upstream: earlier stage to the key of its output in the store.
        folder: where this stage of this trial keeps its checkpoints; seen by every node.
        crew: tells the workers of one attempt from those of another.
        code: the file of the user's own that the system is, if it is one.
    """

    request: TrialRequest
    stage: str
    seed: int
    upstream: Mapping[str, str]
    store: ArtifactStore
    folder: Path
    crew: str = ""
    code: Code | None = None

    @property
    def leave(self) -> Path:
        """The crew leaves once this file exists."""
        return self.folder / f"leave-{self.crew}"

    @property
    def begun(self) -> Path:
        """This file exists once one of the crew has begun."""
        return self.folder / f"begun-{self.crew}"

    def together(self, world: int) -> bool:
        """Whether the workers walk through the same updates."""
        declare(self.request.system, self.code)
        return world > 1 and load_system(self.request.system).stage(self.stage).spread == "data_parallel"

    def parted(self, world: int) -> bool:
        """Whether each of them makes a part of the output."""
        return world > 1 and not self.together(world)

    @property
    def device(self) -> str:
        """The workers' torch device."""
        return self.request.workers.device(self.stage, self.request.device)

    @property
    def steps(self) -> int:
        """Updates of the stage."""
        return self.request.configs[self.stage]["steps"]

    def log(self, rank: int, world: int) -> SpreadLog:
        """What that worker says."""
        return SpreadLog(self.folder / f"worker-{rank}-of-{world}.jsonl")

    def place(self, rank: int, world: int) -> Path:
        """Where that worker finds and leaves checkpoints. Those of data parallel workers are an only worker's too."""
        return self.folder / f"worker-{rank}-of-{world}" if self.parted(world) else self.folder

    def learner(self, rank: int, world: int, device: str) -> Learner:
        """That worker's learner, at step 0."""
        declare(self.request.system, self.code)
        system = load_system(self.request.system)
        stage = system.stage(self.stage)
        config = parse(stage.config_type, dict(self.request.configs[stage.name]), stage.name)
        upstream = {name: self.store.load(key) for name, key in self.upstream.items()}
        learner = stage.start(
            [Lane(config, self.seed, upstream)], system.open_source(self.request.source.name), device
        )
        if world > 1:
            learner.join(rank, world)
        learner.accelerate(self.request.acceleration)
        return learner


def work(job: Job, rank: int, world: int, device: str) -> None:
    """Do one worker's part, from its last checkpoint to the end or until asked to leave.

    Raises:
        Diverged, UserError: as the stage itself would.
    """
    take_up()
    torch.set_num_threads(job.request.threads)
    started_s = time.process_time()
    together, log = job.together(world), job.log(rank, world)
    speaks = rank == 0 or not together
    training = Training(
        job.stage,
        job.learner(rank, world, device),
        job.steps,
        [job.seed],
        job.place(rank, world),
        policy=job.request.checkpoints if speaks else NEVER,
        # Shards have few, long steps; whoever wants them to leave is not to wait for a hundred.
        burst_steps=1 if job.parted(world) else BURST_STEPS,
        declared=load_system(job.request.system).stage(job.stage).metrics,
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    job.begun.touch()
    if together:
        _check_same_start(training.learner.step, device)
    for event in training:
        leaving = job.leave.exists()
        if together:
            leaving, event = _agreed(leaving, event, device)
        if speaks:
            log.say(event)
        if leaving:
            break
    if speaks:
        log.say(training.save())
    log.say_cpu(time.process_time() - started_s)


def _agreed(leaving: bool, event: Event, device: str) -> tuple[bool, Event]:
    """Whether all leave here, and the event with what all spent. Only where all say the same thing at the same update."""
    if not isinstance(event, Progress | Pulse):
        return False, event
    spent_s = event.cpu_s if isinstance(event, Progress) else 0.0
    total = torch.tensor([float(leaving), spent_s], device=device, dtype=torch.float64)
    torch.distributed.all_reduce(total)
    leave, cpu_s = total.tolist()
    return leave > 0, event.model_copy(update={"cpu_s": cpu_s}) if isinstance(event, Progress) else event


def _check_same_start(step: int, device: str) -> None:
    """Refuse to average gradients of different updates: a checkpoint may reach one node later than another."""
    ends = torch.tensor([step, -step], device=device)
    torch.distributed.all_reduce(ends, torch.distributed.ReduceOp.MAX)
    most, least = ends[0].item(), -ends[1].item()
    if most != least:
        raise RuntimeError(f"workers found checkpoints of different steps ({least} and {most})")
