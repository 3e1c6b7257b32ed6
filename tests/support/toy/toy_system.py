"""A real system of two tiny stages, added by entry points as any other package would: noisy descent to a point.

`base` learns a point by averaging noise; `tune` walks from there to (rate, offset)-dependent places. Milliseconds.
"""

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import ClassVar, Literal

import torch
from flowsweep.search_spaces.parameters import Real
from flowsweep.trainables.base import (
    Cost,
    Learner,
    Score,
    SettingFinding,
    Snapshot,
    Stage,
    StageConfig,
    System,
)
from flowsweep.trainables.config import lane_field
from flowsweep.trainables.errors import Diverged, UserError
from pydantic import Field


class BaseConfig(StageConfig):
    steps: int = Field(default=40, gt=0)
    width: float = Field(default=1.0, gt=0)
    pause_s: float = Field(default=0.0, ge=0)


class TuneConfig(StageConfig):
    steps: int = Field(default=40, gt=0)
    rate: float = lane_field(0.1, gt=0, le=1)
    offset: float = lane_field(0.0, ge=-10, le=10)
    noise: Literal["on", "off"] = "on"
    noise_size: float = lane_field(0.01, ge=0)
    fail_at: int | None = None
    diverge_at: int | None = None
    lanes_that_fit: int | None = None  # out of memory at step 12 with more lanes at once than these
    die_once: str | None = None  # kill the process at step 25 unless this file exists
    pause_s: float = Field(default=0.0, ge=0)

    def warnings(self):
        return [f"offset {self.offset:g} is out of reach"] if abs(self.offset) > 5 else []

    def unread(self):
        return {"noise_size": "`noise: off` adds none"} if self.noise == "off" else {}


class Source:
    def __init__(self, name):
        self.name = name
        content = name + os.environ.get("TOY_DATA_VERSION", "1")
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()

    def describe(self):
        return {"transitions": 10, "findings": []}


def open_source(name):
    if not name.startswith("toy/"):
        raise UserError("is not a toy dataset", key="dataset", value=name, fix="Use toy/anything.")
    return Source(name)


class ToyLearner(Learner):
    def __init__(self, lanes, finished=None):
        self.step = 0
        self.lanes = lanes
        self.config = lanes[0].config
        self.generators = [torch.Generator().manual_seed(lane.seed) for lane in lanes]
        self.x = torch.stack(
            [
                lane.upstream["base"].tensors["x"] if "base" in lane.upstream else torch.zeros(2)
                for lane in lanes
            ]
        )
        if finished:
            self.x = torch.stack([snapshot.tensors["x"] for snapshot in finished])

    def advance(self, steps):
        losses = torch.zeros(len(self.lanes))
        for _ in range(steps):
            self.step += 1
            if self.config.pause_s:
                time.sleep(self.config.pause_s)
            fits = getattr(self.config, "lanes_that_fit", None)
            if self.step == 12 and fits is not None and len(self.lanes) > fits:
                raise MemoryError(f"the toy is out of memory with {len(self.lanes)} lanes")
            never_fails = "TOY_NEVER_FAILS" in os.environ
            if getattr(self.config, "fail_at", None) == self.step and not never_fails:
                raise RuntimeError("the toy broke, as asked")
            if getattr(self.config, "diverge_at", None) == self.step and not never_fails:
                raise Diverged("toy loss", self.step)
            if (
                self.step == 25
                and (marker := getattr(self.config, "die_once", None))
                and not Path(marker).exists()
            ):
                Path(marker).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            noise = torch.stack([torch.randn(2, generator=g) for g in self.generators])
            for lane, place in enumerate(self.x):
                config = self.lanes[lane].config
                goal = torch.tensor([getattr(config, "offset", 0.0), 1.0])
                size = 0.0 if getattr(config, "noise", "on") == "off" else getattr(config, "noise_size", 0.01)
                place += getattr(config, "rate", 0.1) * (goal - place + size * noise[lane])
            losses += (self.x**2).sum(-1)
        return {"loss": (losses / steps).tolist()}

    def evaluate(self, seeds, episodes):
        scores = []
        for place, seed in zip(self.x, seeds, strict=True):
            draw = torch.Generator().manual_seed(seed + 10_000)
            values = (
                1 - (place - torch.tensor([2.0, 1.0])).norm() + 0.01 * torch.randn(episodes, generator=draw)
            )
            scores.append(Score({"return": float(values.mean())}, {"return": values.tolist()}))
        return scores

    def state(self):
        tensors = {f"generator.{i}": g.get_state() for i, g in enumerate(self.generators)}
        return Snapshot({"x": self.x.clone(), **tensors}, {"step": self.step})

    def load_state(self, snapshot):
        self.x = snapshot.tensors["x"].clone()
        self.step = snapshot.meta["step"]
        for i, generator in enumerate(self.generators):
            generator.set_state(snapshot.tensors[f"generator.{i}"])

    def outputs(self):
        return [Snapshot({"x": place.clone()}, {}) for place in self.x]


class ToyStage(Stage):
    open_ended: ClassVar = True
    metrics: ClassVar = {
        "loss": "squared distance from the origin",
        "return": "one minus the distance from (2, 1)",
    }

    def __init__(self, name, config_type):
        self.name, self.config_type = name, config_type

    def start(self, lanes, source, device):
        return ToyLearner(lanes)

    def finished(self, lanes, outputs, source, device):
        return ToyLearner(lanes, outputs)

    def findings(self, trials, searched):
        """Trials whose loss did not move, as far as the rate is searched."""
        still = [trial for trial in trials if len(set(trial.curves["loss"])) == 1]
        if not still or "rate" not in searched:
            return []
        reason = f"the loss stayed at {still[0].curves['loss'][0]:g}"
        return [SettingFinding("still", "rate", reason, tuple(trial.trial for trial in still))]

    def cost(self, configs, source):
        return Cost(core_s=0.001 * configs[self.name].steps, disk_bytes=100)


SYSTEM = System(
    name="toy",
    title="Toy",
    reference="none",
    stages=(ToyStage("base", BaseConfig), ToyStage("tune", TuneConfig)),
    open_source=open_source,
    presets={"default": lambda: {"base": BaseConfig(), "tune": TuneConfig()}},
)


def space_of_data(source):
    """Rates up to one in so many letters of the data's name; none for a name that is too long."""
    if len(source.name) > 20:
        raise UserError("is too long a name to search", key="dataset", value=source.name)
    return {"tune.rate": Real(low=0.01, high=1 / len(source.name), reason=f"of {source.name}")}


SPACES = {
    "of_data": space_of_data,
    "default": {"tune.rate": Real(low=0.01, high=1.0, log=True), "tune.offset": Real(low=-4.0, high=4.0)},
}
