"""A sweep names exactly what its system learns from; anything else is refused with the key to write."""

from __future__ import annotations

import pytest
from flowsweep.platform.errors import UserError
from flowsweep.platform.paths import Home
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.spec import SweepSpec
from flowsweep.trainables.config import parse


@pytest.fixture
def plan(toy_system, tmp_path):
    """Plan a small sweep of a system with the given keys for what it learns from."""
    stages = {"roamer": "roam", "solver": "solve", "toy": "tune"}

    def make(system: str, **sources):
        values = {"name": "s", "system": system, "objective": {"metric": f"{stages[system]}/return"}}
        return make_plan(parse(SweepSpec, {**values, **sources, "search": {"trials": 2}}), Home(tmp_path))

    return make


@pytest.mark.parametrize(
    ("system", "kind", "name"),
    [("toy", "dataset", "toy/points"), ("roamer", "environment", "meadow-v0"), ("solver", "problem", "knot")],
)
def test_the_right_key_is_planned_and_said_under_its_name(plan, system, kind, name):
    made = plan(system, **{kind: name})
    said = made.to_json()
    assert said[kind] == {"name": name, "fingerprint": made.fingerprint}
    assert {"dataset", "environment", "problem"} & set(said) == {kind}


@pytest.mark.parametrize(
    ("system", "sources", "said"),
    [
        ("roamer", {"dataset": "meadow-v0"},
         "dataset: `roamer` learns from an environment, not from a dataset (got 'meadow-v0'). "
         "Write `environment: meadow-v0`."),
        ("toy", {"problem": "toy/points"},
         "problem: `toy` learns from a dataset, not from a problem (got 'toy/points'). "
         "Write `dataset: toy/points`."),
        ("solver", {"problem": "knot", "dataset": "toy/points"},
         "dataset: `solver` learns from a problem, not from a dataset (got 'toy/points'). "
         "Drop it; `problem: knot` says it."),
        ("roamer", {},
         "environment: is missing: `roamer` learns from an environment. "
         "Write `environment: NAME`; `flowsweep environments list` shows names."),
        ("toy", {}, "dataset: is missing: `toy` learns from a dataset. "
         "Write `dataset: NAME`; `flowsweep data list --recipes` shows names."),
    ],
)  # fmt: skip
def test_the_wrong_key_two_or_none_are_refused_with_what_to_write(plan, system, sources, said):
    with pytest.raises(UserError) as refused:
        plan(system, **sources)
    assert str(refused.value) == said


def test_both_wrong_keys_are_named(plan):
    with pytest.raises(UserError) as refused:
        plan("roamer", dataset="toy/points", problem="knot")
    assert [error.key for error in refused.value.errors] == ["dataset", "problem"]  # type: ignore[attr-defined]


def test_a_name_the_system_does_not_know_is_refused_with_the_nearest(plan):
    with pytest.raises(UserError, match=r"environment: no such environment .* Did you mean `meadow-v0`"):
        plan("roamer", environment="meadow-v1")
