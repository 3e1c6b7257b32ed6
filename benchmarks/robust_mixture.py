"""Robust posterior sampling where the exact posterior is known: a Gaussian mixture of 16 unknowns seen linearly.

    python benchmarks/robust_mixture.py [--folder DIR] [--tasks cs,blur,inpaint] [--seeds 0,1,2,3,4] [--samples 256]
                                        [--levels 60] [--json]
    python benchmarks/robust_mixture.py --influence

Sliced Wasserstein-2 distance between samples and the exact posterior given the untouched observations alone, mean over
seeds (standard deviation in brackets); every seed draws another mixture, operator, truth, noise and outliers. Two
observations are moved by a hundred noise deviations. "exact" is the distance of two draws from the exact posterior:
nothing can do better. Thresholds are 1.5 (Huber) and 3 (Cauchy), guidance is the default. About four CPU-minutes; a run
that was stopped goes on where it was.

``--influence`` prints how far the posterior mean goes as one observation moves, under a Gaussian prior: in closed form
for the squared loss, by samplers for the others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from flowsweep.trainables.base import Snapshot
from flowsweep.trainables.rdps.config import GUIDANCE, PosteriorConfig
from flowsweep.trainables.rdps.contamination import Contamination
from flowsweep.trainables.rdps.guidance import Inverse
from flowsweep.trainables.rdps.likelihood import Likelihood
from flowsweep.trainables.rdps.metrics import sliced_wasserstein
from flowsweep.trainables.rdps.operators import MatrixOperator
from flowsweep.trainables.rdps.priors import GaussianMixture
from flowsweep.trainables.rdps.problems.mixture import build
from flowsweep.trainables.rdps.samplers import sample
from flowsweep.trainables.rdps.schedule import Settings
from robust_cells import Cells, mean_and_sd, scored, table

SAMPLERS = ("dps_norm", "dps_annealed", "pigdm", "tmpd", "daps", "huber_cg", "reddiff")
THRESHOLDS = {"squared": 1.0, "huber": 1.5, "cauchy": 3.0}
OUTLIERS, SIZE = 2, 100.0


def cell(
    options: argparse.Namespace, cells: Cells, task: str, sampler: str, kind: str, seed: int
) -> Mapping[str, float]:
    """Scores of one setting on one seed, on clean and on contaminated data."""

    def compute() -> Mapping[str, float]:
        problem = build(f"mixture-{task}", task, instance=seed)
        config = PosteriorConfig(
            steps=1, problems_at_once=1, samples=options.samples, levels=options.levels, sampler=sampler, kind=kind,
            threshold=THRESHOLDS[kind], outliers="shift", outlier_size=SIZE,
            outlier_share=OUTLIERS / problem.operator.observations,
        )  # fmt: skip
        return scored(problem, Snapshot({}), config, seed)

    setting = {"task": task, "sampler": sampler, "kind": kind, "seed": seed}
    return cells.scores({**setting, "samples": options.samples, "levels": options.levels}, compute)


def floor(options: argparse.Namespace, task: str, seed: int) -> float:
    """Distance of two draws from the exact posterior."""
    problem = build(f"mixture-{task}", task, instance=seed)
    share = OUTLIERS / problem.operator.observations
    cases = problem.cases("test", seed, [0], Contamination(share, "shift", SIZE))
    exact = problem.posterior(cases.soiled[0], cases.outliers[0])
    generator = torch.Generator().manual_seed(seed)
    return sliced_wasserstein(
        exact.sample(options.samples, generator), exact.sample(options.samples, generator)
    )


def influence() -> None:
    """Shift of the posterior mean as the first of 12 observations of 8 unknowns moves by M noise deviations."""
    noise, chains, sizes = 0.3, 500, (1.0, 10.0, 1e2, 1e4, 1e6)
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(1, 8, 8, generator=generator, dtype=torch.float64) / 8**0.5
    covariance = root @ root.mT + 0.05 * torch.eye(8, dtype=torch.float64)
    mean = torch.randn(1, 8, generator=generator, dtype=torch.float64)
    prior = GaussianMixture(torch.ones(1, dtype=torch.float64), mean, covariance)
    operator = MatrixOperator(torch.randn(12, 8, generator=generator, dtype=torch.float64) / 8**0.5)
    data = operator.A(prior.sample(1, generator)[0])
    data = data + noise * torch.randn(12, generator=generator, dtype=torch.float64)
    precision = torch.linalg.inv(covariance[0]) + operator.matrix.T @ operator.matrix / noise**2
    slope = float((torch.linalg.inv(precision) @ operator.matrix[0]).norm()) / noise

    def shift(sampler: str, kind: str, size: float) -> float:
        means = []
        for by in (0.0, size):
            moved = data.clone()
            moved[0] += by * noise
            threshold = {"squared": 1.0, "huber": 1.345, "cauchy": 2.5, "welsch": 2.5, "tukey": 5.0}[kind]
            inverse = Inverse(
                prior, operator, Likelihood(kind, threshold), noise, moved.expand(1, chains, -1)
            )
            stream = torch.Generator().manual_seed(0)
            settings = Settings(sampler, levels=60, guidance=GUIDANCE.get(sampler, 1.0))
            draw = partial(_normal, stream, chains)
            drawn = sample(inverse, settings, draw)
            means.append(drawn.x[0].mean(0))
        return float((means[1] - means[0]).norm())

    rows = [["exact", "squared", *(f"{slope * size:.4g}" for size in sizes)]]
    rows += [
        [sampler, kind, *(f"{shift(sampler, kind, size):.4g}" for size in sizes)]
        for sampler, kind in (
            ("tmpd", "squared"), ("dps_annealed", "squared"), ("tmpd", "huber"), ("tmpd", "cauchy"), ("tmpd", "welsch"),
            ("tmpd", "tukey"), ("dps_annealed", "cauchy"), ("pigdm", "cauchy"), ("daps", "cauchy"), ("huber_cg", "cauchy"),
        )
    ]  # fmt: skip
    print(table(["sampler", "loss", *(f"M = {size:g}" for size in sizes)], rows))


def _normal(stream: torch.Generator, chains: int, count: int) -> torch.Tensor:
    return torch.randn(count, 1, chains, 8, generator=stream, dtype=torch.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("build/robust"))
    parser.add_argument("--tasks", default="cs,blur,inpaint")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--levels", type=int, default=60)
    parser.add_argument("--influence", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.influence:
        influence()
        return
    cells, found = Cells(options.folder / "mixture.jsonl"), []
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for task in options.tasks.split(","):
        exact = mean_and_sd([floor(options, task, seed) for seed in seeds])
        rows = []
        for sampler in SAMPLERS:
            shown = []
            for metric in ("sw2_clean", "sw2"):
                for kind in THRESHOLDS:
                    values = [cell(options, cells, task, sampler, kind, seed)[metric] for seed in seeds]
                    shown.append(mean_and_sd(values))
                    setting = {"task": task, "sampler": sampler, "kind": kind, "metric": metric}
                    found.append({**setting, "values": values})
            rows.append([sampler, *shown])
        if not options.json:
            header = [
                "sampler",
                *(f"{kind}, {count} outliers" for count in (0, OUTLIERS) for kind in THRESHOLDS),
            ]
            print(f"\n{task}: SW2 to the exact posterior, which is {exact} from itself\n")
            print(table(header, rows), flush=True)
    if options.json:
        print(json.dumps(found))
    print(f"\n{cells.cpu_s:.0f} CPU-seconds in all cells")


if __name__ == "__main__":
    main()
