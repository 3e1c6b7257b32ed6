"""A system that learns nothing of use, in milliseconds: `flowsweep drill` rehearses with it what can go wrong.

`pretrain` averages noise to a start point; `refine` walks from there towards a goal. What it computes is as exactly
determined as any other system's, so that a sweep that was disturbed can be held against one that was not, bit by bit. Its
settings decide where time passes, and what goes wrong by itself.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field

from .base import Cost, Lane, Learner, Score, Snapshot, Stage, StageConfig, System
from .config import lane_field
from .errors import Diverged, UserError

START, GOAL_Y = (0.0, 0.0), 1.0


class PretrainConfig(StageConfig):
    """How the start point is learnt."""

    steps: int = Field(default=40, gt=0)
    """Updates."""
    pause_s: float = Field(default=0.0, ge=0)
    """Seconds that each update waits, in which something can happen to it. No result depends on it."""
    ballast_mib: int = Field(default=0, ge=0)
    """MiB of zeros added to the output, so that publishing it takes time."""


class RefineConfig(StageConfig):
    """How the goal is approached."""

    steps: int = Field(default=60, gt=0)
    """Updates."""
    pause_s: float = Field(default=0.0, ge=0)
    """Seconds that each update waits. No result depends on it."""
    rate: float = lane_field(0.1, gt=0, le=1)
    """Part of the way to the goal that an update goes."""
    goal: float = lane_field(1.0, ge=-10, le=10)
    """Where the goal lies on the first axis; the best is 2."""
    nan_at: int = Field(default=0, ge=0)
    """Update whose loss becomes NaN; 0 for none."""
    crowded_at: int = Field(default=0, ge=0)
    """Update that runs out of memory where several seeds are trained at once; 0 for none."""
    ledger: str | None = None
    """File that gets one byte per update, so that updates done twice can be counted."""


class Points:
    """A source without content."""

    def __init__(self, name: str):
        self.name = name
        self.fingerprint = hashlib.sha256(name.encode()).hexdigest()

    def describe(self) -> Mapping[str, Any]:
        """Nothing to describe."""
        return {"transitions": 0, "findings": []}


def open_points(name: str) -> Points:
    """The source, under any name that begins with ``rehearsal/``.

    Raises:
        UserError: a dataset of another system was meant.
    """
    if not name.startswith("rehearsal/"):
        raise UserError(
            "rehearsals learn from nothing", key="dataset", value=name, fix="Write `rehearsal/points`."
        )
    return Points(name)


class Walker(Learner):
    """Lanes at places ``x`` [P, 2], each drawn towards its goal with noise of its own stream."""

    def __init__(self, lanes: Sequence[Lane[Any]], x: torch.Tensor):
        self.step, self.lanes, self.x = 0, list(lanes), x
        self.config = lanes[0].config
        self.streams = [torch.Generator().manual_seed(lane.seed) for lane in lanes]
        # Pretraining has neither; its lanes walk to (0, 1).
        self.goals = torch.tensor([[getattr(lane.config, "goal", 0.0), GOAL_Y] for lane in lanes])
        self.rates = torch.tensor([[getattr(lane.config, "rate", 0.1)] for lane in lanes])

    def advance(self, steps: int) -> dict[str, list[float]]:
        losses = torch.zeros(len(self.lanes))
        for _ in range(steps):
            self.step += 1
            self._disturb()
            noise = torch.stack([torch.randn(2, generator=stream) for stream in self.streams])
            self.x = self.x + self.rates * (self.goals - self.x + 0.01 * noise)
            loss = ((self.goals - self.x) ** 2).sum(-1)
            if self.step == getattr(self.config, "nan_at", 0):
                loss = loss * float("nan")
            if not bool(torch.isfinite(loss).all()):
                raise Diverged("loss", self.step)
            losses += loss
        return {"loss": (losses / steps).tolist()}

    def _disturb(self) -> None:
        time.sleep(self.config.pause_s)
        if path := getattr(self.config, "ledger", None):
            with open(path, "ab", buffering=0) as ledger:
                ledger.write(b".")
        if self.step == getattr(self.config, "crowded_at", 0) and len(self.lanes) > 1:
            raise MemoryError(f"{len(self.lanes)} seeds at once are too many at step {self.step}")

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        best = torch.tensor([2.0, GOAL_Y])
        scores = []
        for place, seed in zip(self.x, seeds, strict=True):
            luck = 0.01 * torch.randn(episodes, generator=torch.Generator().manual_seed(seed + 10_000))
            values = (1 - (place - best).norm() + luck).tolist()
            scores.append(Score({"return": sum(values) / episodes}, {"return": values}))
        return scores

    def state(self) -> Snapshot:
        streams = {f"stream.{lane}": stream.get_state() for lane, stream in enumerate(self.streams)}
        return Snapshot({"x": self.x.clone(), **streams}, {"step": self.step})

    def load_state(self, snapshot: Snapshot) -> None:
        self.x, self.step = snapshot.tensors["x"].clone(), snapshot.meta["step"]
        for lane, stream in enumerate(self.streams):
            stream.set_state(snapshot.tensors[f"stream.{lane}"])

    def outputs(self) -> list[Snapshot]:
        mib = getattr(self.config, "ballast_mib", 0)
        ballast = {"ballast": torch.zeros(mib * 2**20, dtype=torch.uint8)} if mib else {}
        return [Snapshot({"x": place.clone(), **ballast}, {}) for place in self.x]


class RehearsalStage(Stage[Any]):
    """One of the two stages."""

    metrics: ClassVar = {
        "loss": "squared distance from the goal",
        "return": "one minus the distance from (2, 1)",
    }

    def __init__(self, name: str, config_type: type[StageConfig]):
        self.name, self.config_type = name, config_type  # type: ignore[misc]

    def start(self, lanes: Sequence[Lane[Any]], source: Any, device: str) -> Learner:
        begin = [
            lane.upstream["pretrain"].tensors["x"] if lane.upstream else torch.tensor(START) for lane in lanes
        ]
        return Walker(lanes, torch.stack(begin))

    def finished(
        self, lanes: Sequence[Lane[Any]], outputs: Sequence[Snapshot], source: Any, device: str
    ) -> Learner:
        learner = Walker(lanes, torch.stack([output.tensors["x"] for output in outputs]))
        learner.step = lanes[0].config.steps
        return learner

    def cost(self, configs: Mapping[str, StageConfig], source: Any) -> Cost:
        config: Any = configs[self.name]
        return Cost(core_s=0.0003 * config.steps, disk_bytes=2**20 * getattr(config, "ballast_mib", 0) + 4096)


SYSTEM = System(
    name="rehearsal",
    title="Rehearsal of faults",
    reference="none",
    stages=(RehearsalStage("pretrain", PretrainConfig), RehearsalStage("refine", RefineConfig)),
    open_source=open_points,
    presets={"default": lambda: {"pretrain": PretrainConfig(), "refine": RefineConfig()}},
)
