"""Who comes before whom, with one objective, several, and limits."""

from __future__ import annotations

import random

import numpy as np
import pytest
from flowsweep.platform.report.ranking import Scored, front, ranked_trials
from flowsweep.platform.sweep.goals import Goals, is_feasible
from flowsweep.platform.sweep.search_spec import Constraint, Goal

SCORE, COST = Goal(metric="s/score"), Goal(metric="s/cost", direction="minimize")
LIMIT = Constraint(metric="s/cost", max=3.0)


def scored(**values) -> dict[str, Scored]:
    return {name: Scored(tuple(v) if isinstance(v, tuple) else (v,), {}) for name, v in values.items()}


def test_one_objective_ranks_by_value_and_ties_by_name():
    assert ranked_trials(Goals((SCORE,)), scored(t2=1.0, t1=1.0, t0=0.5, t3=2.0)) == ["t3", "t1", "t2", "t0"]
    assert ranked_trials(Goals((COST,)), scored(t0=2.0, t1=1.0)) == ["t1", "t0"]


def test_a_value_that_is_no_number_comes_last():
    assert ranked_trials(Goals((SCORE,)), scored(t0=float("nan"), t1=-5.0)) == ["t1", "t0"]


def test_what_keeps_its_limits_comes_before_what_does_not():
    goals = Goals((SCORE,), (LIMIT,))
    rows = {
        "far": Scored((9.0,), {"c": 5.0}),
        "near": Scored((8.0,), {"c": 0.1}),
        "kept": Scored((1.0,), {"c": 0.0}),
        "unknown": Scored((10.0,), {"c": float("nan")}),
    }
    assert ranked_trials(goals, rows) == ["kept", "near", "far", "unknown"]
    assert front(goals, rows) == ["kept"]


def test_a_limit_reads_its_metric_from_either_side():
    goals = Goals((SCORE,), (LIMIT, Constraint(metric="s/score", min=0.5)))
    known = goals.read({"score": 0.3, "cost": 2.5, "other": 1.0})
    assert known == {"s/score": pytest.approx(0.3), "s/cost": 2.5}
    assert goals.excess(known) == {"s/cost <= 3": -0.5, "s/score >= 0.5": pytest.approx(0.2)}
    assert goals.values({"s/cost": 1.0}) is None
    assert not is_feasible(goals.excess({"s/score": 1.0}))


def test_the_front_starts_with_the_best_in_the_leading_objective_then_the_other_end_then_the_roomiest():
    goals = Goals((SCORE, COST))
    rows = scored(a=(5.0, 5.0), b=(4.0, 3.0), c=(3.9, 2.9), d=(2.0, 1.0), e=(1.0, 0.5), behind=(1.5, 4.0))
    assert ranked_trials(goals, rows)[:3] == ["a", "e", "d"]
    assert ranked_trials(goals, rows)[-1] == "behind"
    assert set(front(goals, rows)) == {"a", "b", "c", "d", "e"}


def test_fronts_agree_with_their_definition_on_random_points():
    draw = random.Random(0)
    for objectives in (2, 3):
        goals = Goals((COST,) * objectives)
        points = {f"t{i:02d}": tuple(draw.randint(0, 6) for _ in range(objectives)) for i in range(40)}
        array = np.array(list(points.values()))
        beaten = [np.any((array <= p).all(1) & (array < p).any(1)) for p in array]
        expected = {name for name, lost in zip(points, beaten, strict=True) if not lost}
        rows = {name: Scored(tuple(map(float, p)), {}) for name, p in points.items()}
        assert set(front(goals, rows)) == expected
        assert set(ranked_trials(goals, rows)[: len(expected)]) == expected
