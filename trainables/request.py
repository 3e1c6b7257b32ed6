"""What one trial is asked to do: complete, plain, and the same for a worker, a cluster node or a rerun."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from .acceleration import Acceleration
from .checkpoints import CheckpointPolicy
from .config import FrozenConfig
from .source_ref import SourceRef, Split


class Share(FrozenConfig):
    """What one process has to itself."""

    cpus: float = 1
    gpus: float = 0
    custom: Mapping[str, float] = {}
    """Resources that nodes have by names of their own."""
    labels: Mapping[str, str] = {}
    """Labels its node must have."""

    @property
    def bundle(self) -> dict[str, float]:
        """The same, as Ray names it."""
        return {"CPU": self.cpus, "GPU": self.gpus, **self.custom}


class Workers(FrozenConfig):
    """Who computes which stage, where it is not the trial by itself: how many, and what each of them may use."""

    counts: Mapping[str, int] = {}
    """Workers by stage; one where not named."""
    cpus: float = 1
    """CPU cores of a trial, and of each worker."""
    gpus: float = 0
    """GPUs of a trial; a worker gets whole ones."""
    custom: Mapping[str, float] = {}
    """Other resources of a trial, and of each worker."""
    labels: Mapping[str, str] = {}
    """Labels of nodes for trials, and for workers."""
    stages: Mapping[str, Share] = {}
    """What each worker of a stage has, where that is another share than a trial's. Even a single one then works beside it."""
    retries: int = 0
    """Times a lost worker is replaced."""

    def of(self, stage: str) -> int:
        """Workers of that stage."""
        return self.counts.get(stage, 1)

    def apart(self, stage: str) -> bool:
        """Whether a stage is computed by workers beside the trial."""
        return self.of(stage) > 1 or stage in self.stages

    def each(self, stage: str, nodes: int) -> dict[str, float]:
        """What is set aside for each worker, as Ray names it, beside the trial's own share.

        On one machine without GPUs a trial that looks on lends its cores: together they take what ``count`` trials
        take. Elsewhere shares of a core could come to lie on nodes where they are of no use.
        """
        if stage in self.stages:
            return self.stages[stage].bundle
        lent = 1 / self.of(stage) if nodes == 1 and not self.gpus else 0.0
        # Ray counts in ten-thousandths and must not come out above the whole.
        cpus = math.floor(self.cpus * (1 - lent) * 10_000) / 10_000
        return {"CPU": cpus, "GPU": math.ceil(self.gpus), **self.custom}

    def labels_of(self, stage: str) -> dict[str, str]:
        """Labels of nodes for the workers of a stage."""
        return dict(self.stages[stage].labels if stage in self.stages else self.labels)

    def device(self, stage: str, of_trial: str) -> str:
        """The torch device of a stage's workers, given the trial's."""
        if stage not in self.stages:
            return of_trial
        return "cuda" if self.stages[stage].gpus else "cpu"


class TrialRequest(FrozenConfig):
    """Everything a trial needs, so that equal requests do equal work anywhere."""

    trial: str
    """Name of the trial within its sweep."""
    system: str
    """Registered system."""
    source: SourceRef
    """What the system learns from."""
    configs: Mapping[str, Mapping[str, Any]]
    """Full configuration of every stage."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """One lane per seed."""
    split: Split = "tune"
    """Whether it is scored for the search or for the confirmation, where the system's problems differ."""
    through: str
    """The last stage of the walk."""
    episodes: int
    """Episodes per seed at each evaluation."""
    evaluate_every_steps: int | None = None
    """Steps of the last stage between evaluations; always evaluated at its end."""
    threads: int = 1
    """Torch threads."""
    device: str = "cpu"
    """Torch device."""
    acceleration: Acceleration = "eager"
    """How updates are computed; results of `compile` are equal up to rounding."""
    workers: Workers = Workers()
    """How stages that can be spread are computed; no part of what is computed."""
    lanes: int | None = Field(default=None, gt=0)
    """Seeds trained at once; all when not given. Fewer take less memory and more time; no value depends on it."""
    ends: tuple[int, ...] = ()
    """Steps at which its last stage ended before it was taken further, ascending."""
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    """When its state is stored on the way; no part of what is computed."""
    metrics: tuple[str, ...] = ()
    """Metrics of its last stage that the sweep looks at; whether they can be reported is tried before it trains."""
    best_within: tuple[tuple[str, Literal["max", "min"], float], ...] = ()
    """Limits that a best checkpoint keeps: metric of its last stage, which kind of limit, the limit."""
    best_by: tuple[str, bool] | None = None
    """Metric of its last stage by which its best checkpoint is chosen, and whether it is maximized."""
    illustrate: bool = False
    """Whether to picture the result at the end."""

    @classmethod
    def recorded(cls, given: Mapping[str, Any]) -> TrialRequest:
        """A request as journals and workers hold it; older ones know nothing to learn from but a ``dataset``."""
        if "dataset" in given:
            rest = {name: value for name, value in given.items() if name != "dataset"}
            given = {**rest, "source": {"kind": "dataset", "name": given["dataset"]}}
        return cls.model_validate(given, strict=False)
