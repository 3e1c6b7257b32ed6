"""Every example plans as it stands; the notebook's test runs the function."""

from __future__ import annotations

from pathlib import Path

import flowsweep
import pytest
from flowsweep import testing

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_an_example_can_be_run_as_it_stands(file, tmp_path):
    made = flowsweep.plan(file, home=tmp_path)
    assert made.rungs
    assert made.spec.seeds.test


def test_the_function_keeps_what_learners_promise():
    for check in testing.checks(f"{EXAMPLES}/train.py:train", steps=25):
        check()
