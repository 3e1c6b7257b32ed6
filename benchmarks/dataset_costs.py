"""What made datasets cost and hold: processor time and size, flat and as hdf5, episode length, variance of actions.

    python benchmarks/dataset_costs.py pointmaze-large pointmaze-large-detour
    python benchmarks/dataset_costs.py pointmaze-umaze --steps 1000000

Every recipe is made by one worker into a folder that is deleted at the end. *make* is the processor time of `flowsweep data
make`, all its processes; *flatten* that of opening the dataset for the first time, *open* of doing so again. *variance* is what
`flowsweep data show` prints with its margin, *half* the same from half of the episodes, *plain* the same from the plainly
nearest states, whatever episode they are of.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flowsweep.trainables.data.action_variance import action_variance
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.data.makers import dataset_id
from flowsweep.trainables.data.makers.registry import find_recipe


def main() -> None:
    """Make, open, look at each; one line per recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="+", metavar="RECIPE")
    parser.add_argument("--steps", type=int, help="of each; the recipe's own when not given")
    options = parser.parse_args()
    print(
        f"{'recipe':<26}{'make s':>8}{'hdf5 MB':>9}{'flatten s':>11}{'flat MB':>9}{'open ms':>9}"
        f"{'steps/episode':>15}{'variance':>20}{'half':>8}{'plain':>8}"
    )
    for recipe in options.recipes:
        with tempfile.TemporaryDirectory() as folder:
            os.environ |= {"FLOWSWEEP_HOME": f"{folder}/home", "MINARI_DATASETS_PATH": f"{folder}/minari"}
            print(row(recipe, options.steps, Path(folder)), flush=True)


def row(recipe: str, steps: int | None, folder: Path) -> str:
    """Make one and measure it."""
    words = ["data", "make", recipe, "--workers", "1", *(["--steps", str(steps)] if steps else [])]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "flowsweep.platform.cli", *words], check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    make_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    name = dataset_id(find_recipe(recipe), steps)
    flatten_s, open_s = opening_s(name), opening_s(name)
    dataset = open_dataset(name)
    varied, plain = action_variance(dataset), action_variance(dataset, other_episodes=False)
    margin = f" ± {1.96 * varied.std_error:.2g}" if varied.std_error else ""
    half = "" if varied.sparser_mean is None else f"{varied.sparser_mean:.3g}"
    return (
        f"{recipe:<26}{make_s:>8.1f}{size_mb(folder / 'minari'):>9.0f}{flatten_s:>11.1f}"
        f"{size_mb(folder / 'home' / 'datasets'):>9.1f}{1e3 * open_s:>9.1f}"
        f"{dataset.info.transitions / dataset.info.episodes:>15.0f}"
        f"{f'{varied.mean:.3g}{margin}':>20}{half:>8}{plain.mean:>8.3g}"
    )


def opening_s(name: str) -> float:
    """Processor seconds of opening a dataset."""
    began = time.process_time()
    open_dataset(name)
    return time.process_time() - began


def size_mb(folder: Path) -> float:
    """Megabytes of all files in it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
