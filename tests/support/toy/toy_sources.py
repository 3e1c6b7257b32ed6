"""Two toy systems that learn from something else than a dataset: one from an environment, one from a problem.

`roam` descends to a place like the toy's `tune`; its evaluation costs the more, the nearer it comes to the best place.
`solve` does the same, and its problems are disjoint lists: it reports by which of them it was scored.
"""

import hashlib
from typing import ClassVar

import torch
from flowsweep.search_spaces.parameters import Real
from flowsweep.trainables.base import Cost, Stage, StageConfig, System
from flowsweep.trainables.config import lane_field
from flowsweep.trainables.errors import UserError, nearest
from pydantic import Field
from toy_system import BaseConfig, ToyLearner, ToyStage

ENVIRONMENTS = ("meadow-v0", "bog-v0")
PROBLEMS = ("riddle", "knot")


class RoamConfig(StageConfig):
    steps: int = Field(default=40, gt=0)
    rate: float = lane_field(0.1, gt=0, le=1)
    offset: float = lane_field(0.0, ge=-10, le=10)
    pause_s: float = Field(default=0.0, ge=0)


class Named:
    """A source of one kind."""

    def __init__(self, kind, name):
        self.kind, self.name = kind, name
        self.fingerprint = hashlib.sha256(f"{kind} {name}".encode()).hexdigest()

    def describe(self):
        return {"size": 2, "findings": [{"level": "info", "text": f"the {self.kind} is small"}]}


def opener(kind, names):
    """Opens sources of one kind by name."""

    def open_source(name):
        if name not in names:
            raise UserError(f"no such {kind}", key=kind, value=name, fix=nearest(name, names))
        return Named(kind, name)

    return open_source


class ScoredLearner(ToyLearner):
    """Scores with a cost, and with the list its problems were of: 0 to tune by, 1 to test by."""

    def evaluate(self, seeds, episodes):
        scores = super().evaluate(seeds, episodes)
        best = torch.tensor([2.0, 1.0])
        for lane, place, score in zip(self.lanes, self.x, scores, strict=True):
            score.metrics["cost"] = float(3 - (place - best).norm())
            score.metrics["test_share"] = float(lane.split == "test")
        return scores


class ScoredStage(Stage):
    open_ended: ClassVar = True
    config_type: ClassVar = RoamConfig
    metrics: ClassVar = {
        "loss": "squared distance from the origin",
        "return": "one minus the distance from (2, 1)",
        "cost": "three minus the distance from (2, 1)",
        "test_share": "1 when scored on problems to test by, 0 on those to tune by",
    }

    def __init__(self, name):
        self.name = name

    def start(self, lanes, source, device):
        return ScoredLearner(lanes)

    def finished(self, lanes, outputs, source, device):
        return ScoredLearner(lanes, outputs)

    def cost(self, configs, source):
        return Cost(core_s=0.001 * configs[self.name].steps, disk_bytes=100)


def system(name, kind, names, stage):
    return System(
        name=name,
        title=name.title(),
        reference="none",
        stages=(ToyStage("base", BaseConfig), ScoredStage(stage)),
        open_source=opener(kind, names),
        presets={"default": lambda: {"base": BaseConfig(), stage: RoamConfig()}},
        learns_from=kind,
    )


ROAMER = system("roamer", "environment", ENVIRONMENTS, "roam")
SOLVER = system("solver", "problem", PROBLEMS, "solve")


def space(stage):
    return {f"{stage}.rate": Real(low=0.01, high=1.0, log=True), f"{stage}.offset": Real(low=-4.0, high=4.0)}


ROAMER_SPACES = {"default": space("roam")}
SOLVER_SPACES = {"default": space("solve")}
