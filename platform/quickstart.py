"""The first thing a person runs: a real dataset, a small sweep, a table, a report."""

from __future__ import annotations

from collections.abc import Callable

from ..trainables.data.makers import make_dataset, recipe_for
from ..trainables.data.names import minari_data_path
from .paths import Home
from .plan import Plan, make_plan
from .spec import SweepSpec, load_spec

SWEEP = "quickstart"

SMALLEST = {
    "search.trials": "2",
    "seeds.test": "[1000, 1001]",
    "stages.pretrain.steps": "300",
    "stages.refine.steps": "200",
    "evaluation.episodes": "4",
    "evaluation.every_steps": "100",
    "stop.min_steps": "100",
    "confirm.episodes": "4",
}
"""The shortest run that still goes the whole way: every room is entered, nothing is learnt."""


def quickstart_plan(home: Home, smallest: bool, say: Callable[[str], None]) -> Plan:
    """Make the dataset of the quickstart sweep where it is missing, and plan the sweep under a free name.

    Args:
        smallest: cut every number down.
        say: shown what is being done.
    """
    spec = load_spec(SWEEP, {**(SMALLEST if smallest else {}), "name": free_name(home, SWEEP)})
    provide_dataset(spec, say)
    return make_plan(spec, home)


def provide_dataset(spec: SweepSpec, say: Callable[[str], None]) -> None:
    """Make the sweep's dataset, when it is one of ours and not here yet."""
    known = recipe_for(spec.dataset)
    if known is None or minari_data_path(spec.dataset).exists():
        return
    recipe, steps, seed = known
    say(f"Making {spec.dataset} ({steps:,} environment steps) …")
    make_dataset(recipe.name, steps=steps, seed=seed)


def free_name(home: Home, wanted: str) -> str:
    """``wanted``, or ``wanted-2``, ``wanted-3``, … when sweeps of that name exist."""
    names = [wanted, *(f"{wanted}-{number}" for number in range(2, 10_000))]
    return next(name for name in names if not home.sweep(name).journal.exists())
