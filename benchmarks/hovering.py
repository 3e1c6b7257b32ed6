"""How much of a maze dataset stays where it is: the share of steps from which the agent hardly gets anywhere.

    flowsweep data make pointmaze-medium-navigate
    python benchmarks/hovering.py flowsweep/pointmaze-medium-navigate-v0

Each step is compared with the one so many steps later in the same episode, by the first two observation entries, which in
mazes are the position. A demonstrator that hovers shows as a share near zero; the quantiles say how far others come.
"""

from __future__ import annotations

import argparse

import numpy as np
from flowsweep.trainables.data.dataset import FlatDataset
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.errors import UserError

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def distances(dataset: FlatDataset, steps: int) -> np.ndarray:
    """How far each step's position is from that ``steps`` later; steps whose episode ends before are left out."""
    within = dataset.episode_of[:-steps] == dataset.episode_of[steps:]
    places = dataset.states[dataset.rows, :2]
    return np.linalg.norm(places[steps:] - places[:-steps], axis=1)[within]


def main() -> None:
    """Print the share that stays, and how far the rest comes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset")
    parser.add_argument("--steps", type=int, default=30, help="how many steps later")
    parser.add_argument("--radius", type=float, default=1.0, help="in the maze's units")
    options = parser.parse_args()
    try:
        found = distances(open_dataset(options.dataset), options.steps)
    except UserError as error:
        parser.error(str(error))
    near = found < options.radius
    print(
        f"{near.mean():.1%} of {len(found):,} steps are within {options.radius:g} of where they were {options.steps} before"
    )
    told = ", ".join(f"{value:.2f}" for value in np.quantile(found[~near], QUANTILES))
    print(f"the others come this far (quantiles {', '.join(f'{q:g}' for q in QUANTILES)}): {told}")


if __name__ == "__main__":
    main()
