"""The first thing a person runs: a real dataset, a small sweep, a table, a report."""

from __future__ import annotations

from collections.abc import Callable

from ..trainables.data.makers import ensure_dataset
from .paths import Home
from .sweep.plan import Plan, make_plan
from .sweep.spec import load_spec
from .sweep.yaml_file import Text

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


def quickstart_plan(home: Home, smallest: bool, progress: Callable[[int, int], None] | None = None) -> Plan:
    """Make the dataset of the quickstart sweep where it is missing, and plan the sweep under a free name.

    Args:
        smallest: cut every number down.
        progress: told environment steps made and wanted while the dataset is made.
    """
    spec = load_spec(SWEEP, {**(SMALLEST if smallest else {}), "name": Text(free_name(home, SWEEP))})
    ensure_dataset(spec.source.name, progress=progress)
    return make_plan(spec, home)


def free_name(home: Home, wanted: str) -> str:
    """``wanted``, or ``wanted-2``, ``wanted-3``, … when sweeps of that name exist."""
    names = [wanted, *(f"{wanted}-{number}" for number in range(2, 10_000))]
    return next(name for name in names if not home.sweep(name).journal.exists())
