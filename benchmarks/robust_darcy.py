"""Robust posterior sampling through a nonlinear operator: one-dimensional Darcy flow, exact score of the prior.

    python benchmarks/robust_darcy.py [--folder DIR] [--problems 4] [--samples 16] [--levels 60] [--seeds 0,1,2]
                                      [--json]

Relative L2 error of the posterior mean and energy score of the samples, mean over test problems and seeds, for shares of
gross outliers (uniform within three ranges of the data); seeds whose samples become non-finite are counted. No exact posterior is known here, so that nothing is compared
with one. A scale rule stands in the name; ``mad`` goes with robust losses alone. About one CPU-minute; a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import torch
from flowsweep.trainables.base import Snapshot
from flowsweep.trainables.errors import Diverged
from flowsweep.trainables.rdps.config import PosteriorConfig
from flowsweep.trainables.rdps.problems.registry import open_problem
from robust_cells import Cells, scored, table

SETTINGS = (
    ("dps_annealed", "squared", "annealed"),
    ("dps_annealed", "huber", "annealed"),
    ("dps_annealed", "cauchy", "annealed"),
    ("dps_annealed", "cauchy", "mad"),
    ("pigdm", "squared", "annealed"),
    ("pigdm", "cauchy", "annealed"),
    ("dps_norm", "squared", "annealed"),
    ("dps_norm", "cauchy", "annealed"),
)
THRESHOLDS = {"squared": 1.0, "huber": 1.5, "cauchy": 3.0}
SHARES = (0.0, 0.1, 0.2)
GUIDANCE = {"dps_norm": 3.0}
"""DPS-norm steps by the gradient's own length, which is small here."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("build/robust"))
    parser.add_argument("--problems", type=int, default=4)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--levels", type=int, default=60)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells, problem = Cells(options.folder / "darcy.jsonl"), open_problem("darcy-1d")
    seeds, rows, found = [int(seed) for seed in options.seeds.split(",")], [], []
    for sampler, kind, scale in SETTINGS:
        shown = []
        for share in SHARES:
            scores = [_cell(options, cells, problem, sampler, kind, scale, share, seed) for seed in seeds]
            ended = [one for one in scores if not one.get("diverged")]
            ending = "" if share else "_clean"
            text = "diverged" if not ended else " / ".join(
                f"{fmean(one[name + ending] for one in ended):{form}}"
                for name, form in (("relative_l2", ".3f"), ("energy_score", ".2f"))
            )  # fmt: skip
            lost = len(scores) - len(ended)
            shown.append(text + (f" ({lost} of {len(scores)} seeds diverged)" if ended and lost else ""))
            found.append([sampler, kind, scale, share, scores])
        rows.append([sampler, kind, scale, *shown])
    if options.json:
        print(json.dumps(found))
    else:
        print(table(["sampler", "loss", "scale", *(f"{share:.0%} outliers" for share in SHARES)], rows))
    print(f"\n{cells.cpu_s:.0f} CPU-seconds in all cells")


def _cell(
    options: argparse.Namespace,
    cells: Cells,
    problem,
    sampler: str,
    kind: str,
    scale: str,
    share: float,
    seed: int,
) -> Mapping[str, float]:
    """Scores of one cell; ``share`` 0 reads the clean data of a cell with outliers where that ran to its end."""
    cells_share, share = share, share or SHARES[1]
    setting = {"sampler": sampler, "kind": kind, "scale": scale, "share": share, "seed": seed}
    sizes = {"problems": options.problems, "samples": options.samples, "levels": options.levels}

    def compute() -> Mapping[str, float]:
        try:
            return solved()
        except Diverged:
            return {"diverged": 1.0}

    def solved() -> Mapping[str, float]:
        config = PosteriorConfig(
            steps=options.problems, problems_at_once=options.problems, samples=options.samples,
            levels=options.levels, sampler=sampler, kind=kind, scale=scale, threshold=THRESHOLDS[kind],
            outlier_share=share, outlier_size=3.0, guidance=GUIDANCE.get(sampler),
        )  # fmt: skip
        return scored(problem, Snapshot({}), config, seed)

    found = cells.scores({**setting, **sizes}, compute)
    if cells_share == share or not found.get("diverged"):
        return found
    # Outliers broke it; clean data are solved by themselves.
    share = 0.0
    return cells.scores({**setting, **sizes, "share": 0.0}, compute)


if __name__ == "__main__":
    main()
