"""What the benchmarks of robust posterior sampling share: cells that are computed once, a prior that is trained once.

A cell is one setting on one seed. Its scores are appended to a file as soon as they are there, so that a benchmark that
was stopped goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from flowsweep.trainables.artifacts import read_snapshot, write_snapshot
from flowsweep.trainables.base import Lane, Snapshot
from flowsweep.trainables.rdps import SYSTEM
from flowsweep.trainables.rdps.config import PosteriorConfig, PriorConfig
from flowsweep.trainables.rdps.likelihood import Likelihood
from flowsweep.trainables.rdps.posterior import PosteriorLearner
from flowsweep.trainables.rdps.problems.problem import Problem

PRIOR_STAGE = SYSTEM.stages[0]


class Cells:
    """Scores by setting, kept in a file of one JSON object a line."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.known = {self._key(row["cell"]): row["scores"] for row in map(json.loads, lines)}

    @staticmethod
    def _key(cell: Mapping[str, Any]) -> str:
        return json.dumps(cell, sort_keys=True)

    def scores(
        self, cell: Mapping[str, Any], compute: Callable[[], Mapping[str, float]]
    ) -> Mapping[str, float]:
        """The scores of a cell, computed unless they are there."""
        key = self._key(cell)
        if key not in self.known:
            started = time.process_time()
            scores = dict(compute())
            scores["cpu_s"] = time.process_time() - started
            with self.path.open("a") as file:
                file.write(json.dumps({"cell": cell, "scores": scores}) + "\n")
            self.known[key] = scores
        return self.known[key]

    @property
    def cpu_s(self) -> float:
        """Spent on all of them."""
        return sum(scores["cpu_s"] for scores in self.known.values())


@cache
def trained_prior(problem: Problem, folder: Path, config: PriorConfig | None = None) -> Snapshot:
    """The problem's prior: nothing where it is known, else trained once and kept in ``folder``."""
    if problem.mixture is not None:
        return Snapshot({}, {"known": problem.prior_name})
    config = config or PriorConfig()
    kept = folder / f"prior-{problem.prior_name}-{config.seed}-{config.steps}"
    if not kept.exists():
        learner = PRIOR_STAGE.start([Lane(config, 0)], problem, "cpu")
        while learner.step < config.steps:
            learner.advance(min(100, config.steps - learner.step))
        write_snapshot(kept, learner.outputs()[0])
    return read_snapshot(kept)


class OracleLearner(PosteriorLearner):
    """The squared loss, told which observations are outliers: what no sampler can know, as a bound."""

    def _sampled(self, likelihood: Likelihood, data: torch.Tensor, places: range):
        masks = []
        for lane in self.lanes:
            outliers = self.problem.cases(lane.split, lane.seed, places, self.contamination).outliers
            masks.append(torch.stack([torch.zeros_like(outliers), outliers], 1))
        told = torch.stack(masks).unsqueeze(3).expand(-1, -1, -1, self.config.samples, -1).flatten(1, 3)

        class Told(Likelihood):
            def weights(self, residual: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
                return (~told).to(residual.dtype)

        return super()._sampled(Told("squared"), data, places)


def scored(
    problem: Problem, prior: Snapshot, config: PosteriorConfig, seed: int, *, oracle: bool = False
) -> Mapping[str, float]:
    """Mean metrics over the configured number of test problems."""
    learner = (OracleLearner if oracle else PosteriorLearner)(
        [Lane(config, seed, {"prior": prior}, "test")], problem, "cpu"
    )
    learner.advance(config.steps)
    return learner.evaluate([seed], 0)[0].metrics


def mean_and_sd(values: Sequence[float], form: str = ".3f") -> str:
    """``0.049 (.010)`` as text; no deviation of a single value."""
    spread = f" ({stdev(values):{form}})" if len(values) > 1 else ""
    return f"{fmean(values):{form}}{spread}"


def table(header: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
