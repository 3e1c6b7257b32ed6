"""A tiny system from outside the package, and sweeps of it: everything the platform does, in seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from flowsweep.platform.spec import SweepSpec
from flowsweep.trainables.config import parse

TOY = Path(__file__).parent.parent / "support" / "toy"


@pytest.fixture(scope="session")
def toy_system():
    """Install the toy system for this process and for the processes it starts (Ray workers, the command line)."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(TOY))
    patch.setenv("PYTHONPATH", str(TOY), prepend=":")
    from flowsweep.search_spaces import parameters
    from flowsweep.trainables import base

    base.load_system.cache_clear()
    parameters._registered.cache_clear()
    yield "toy"
    sys.modules.pop("toy_system", None)
    patch.undo()


TOY_SWEEP = {
    "name": "toy",
    "system": "toy",
    "dataset": "toy/points",
    "objective": {"metric": "tune/return"},
    "search": {"trials": 6},
    "stop": {"rule": "asha", "min_steps": 10, "reduction": 2},
    "seeds": {"tune": [0, 1], "test": [10, 11]},
    "evaluation": {"episodes": 5, "every_steps": 10},
    "confirm": {"top": 2, "episodes": 8, "baselines": ["base"]},
}


@pytest.fixture(scope="session")
def toy_sweep_values() -> dict:
    """A toy sweep as a user would write it."""
    return TOY_SWEEP


@pytest.fixture
def toy_sweep(toy_system):
    """Build a toy sweep's spec with changes at the top level (``search={"trials": 2}``)."""

    def build(**changes) -> SweepSpec:
        return parse(SweepSpec, {**TOY_SWEEP, **changes})

    return build
