"""Robust posterior sampling of handwritten digits under a learned prior: five operators, three shares of outliers.

    python benchmarks/robust_digits.py [--folder DIR] [--images 24] [--samples 2] [--levels 60] [--seeds 0,1,2]
                                       [--guidance 8]
                                       [--outliers gross,in_range] [--only dps_annealed,pigdm] [--json]

Mean PSNR of single posterior samples on test images, in dB at a range of 2, for the squared loss, Huber's and Cauchy's;
"oracle" is the squared loss told which observations are outliers. Nothing is tuned per task: thresholds are 1.5 (Huber)
and 3 (Cauchy), guidance is the default. All settings see the same images, data, outliers and sampling noise, so that
wins are counted task by task, sampler by sampler and seed by seed. Takes about five CPU-minutes; a run that was stopped
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from flowsweep.trainables.rdps.config import PosteriorConfig
from flowsweep.trainables.rdps.problems.registry import open_problem
from robust_cells import Cells, scored, table, trained_prior

TASKS = ("blur", "cs", "inpaint", "sr", "scatter")
SAMPLERS = ("dps_annealed", "pigdm", "daps", "dps_norm")
THRESHOLDS = {"squared": 1.0, "huber": 1.5, "cauchy": 3.0}
SHARES = (0.1, 0.2)


class Benchmark:
    """All cells, computed on demand."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.cells = options, Cells(options.folder / "digits.jsonl")
        self.seeds = [int(seed) for seed in options.seeds.split(",")]

    def psnr(
        self, task: str, sampler: str, kind: str, share: float, seed: int, outliers: str
    ) -> Mapping[str, float]:
        """Scores of one cell; ``share`` 0 reads the clean data of a cell with outliers."""
        options = self.options
        cell: dict[str, Any] = {
            "task": task, "sampler": sampler, "kind": kind, "share": share or SHARES[0], "seed": seed,
            "outliers": outliers, "images": options.images, "samples": options.samples, "levels": options.levels,
            "guidance": options.guidance,
        }  # fmt: skip

        problem = open_problem(f"digits-{task}")
        prior = trained_prior(problem, options.folder)

        def compute() -> Mapping[str, float]:
            config = PosteriorConfig(
                steps=options.images, problems_at_once=options.images, samples=options.samples,
                levels=options.levels, sampler=sampler, kind="squared" if kind == "oracle" else kind,
                threshold=THRESHOLDS.get(kind, 1.0), outlier_share=cell["share"], outliers=outliers,
                guidance=options.guidance,
            )  # fmt: skip
            return scored(problem, prior, config, seed, oracle=kind == "oracle")

        found = self.cells.scores(cell, compute)
        return {"psnr": found["psnr_clean" if share == 0 else "psnr"], "nrmse": found["nrmse"]}

    def mean(self, task: str, sampler: str, kind: str, share: float, outliers: str) -> float:
        """Over the seeds."""
        return fmean(self.psnr(task, sampler, kind, share, seed, outliers)["psnr"] for seed in self.seeds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("build/robust"))
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--levels", type=int, default=60)
    parser.add_argument("--guidance", type=float, default=None)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--outliers", default="gross")
    parser.add_argument("--only", default=",".join(SAMPLERS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    benchmark = Benchmark(options)
    found = {
        kind: report(benchmark, options.only.split(","), kind, options.json)
        for kind in options.outliers.split(",")
    }
    if options.json:
        print(json.dumps(found))
    print(f"\n{benchmark.cells.cpu_s:.0f} CPU-seconds in all cells")


def report(benchmark: Benchmark, samplers: list[str], outliers: str, quiet: bool) -> dict[str, Any]:
    """Compute and print one kind of outliers."""
    rows, wins, pairs, prices = [], 0, 0, []
    for sampler in samplers:
        kinds = ("squared", "huber", "cauchy") if sampler == "dps_annealed" else ("squared", "cauchy")
        for task in TASKS:
            cells = []
            for share in (0.0, *SHARES):
                shown = [*kinds, *(["oracle"] if sampler == "dps_annealed" and share else [])]
                values = [benchmark.mean(task, sampler, kind, share, outliers) for kind in shown]
                cells.append(" / ".join(f"{value:.2f}" for value in values))
            rows.append([sampler, task, *cells])
            prices.append(
                benchmark.mean(task, sampler, "squared", 0, outliers)
                - benchmark.mean(task, sampler, "cauchy", 0, outliers)
            )
            for share in SHARES:
                for seed in benchmark.seeds:
                    plain, robust = (
                        benchmark.psnr(task, sampler, kind, share, seed, outliers)["psnr"]
                        for kind in ("squared", "cauchy")
                    )
                    pairs, wins = pairs + 1, wins + (robust > plain)
    prices.sort()
    middle = prices[len(prices) // 2]
    if not quiet:
        print(f"\nOutliers: {outliers}. PSNR in dB: squared / huber / cauchy / oracle, or squared / cauchy\n")
        print(table(["sampler", "task", "no outliers", "10 %", "20 %"], rows))
        print(f"\nCauchy above squared in {wins} of {pairs} cells (task, sampler, share, seed)")
        print(f"price on clean data: median {middle:.2f} dB, largest {prices[-1]:.2f} dB")
    return {
        "rows": rows,
        "wins": wins,
        "pairs": pairs,
        "median_price_db": middle,
        "largest_price_db": prices[-1],
    }


if __name__ == "__main__":
    main()
