"""The objective against a limited metric: feasible and infeasible apart, the front marked, the limit drawn in."""

from __future__ import annotations

import pytest
from flowsweep.platform.report import plots
from flowsweep.platform.report.intervals import Interval
from flowsweep.platform.report.leaderboard import LeaderboardRow
from flowsweep.platform.report.limits import (
    draw_limit,
    draw_limit_curves,
    exchange_front,
    limit_pictures,
)
from flowsweep.platform.sweep.goals import Goals
from flowsweep.platform.sweep.search_spec import Constraint, Goal
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

RETURN, COST = Goal(metric="train/return"), Constraint(metric="train/cost", max=25.0)
PLACES = {"a": (10.0, 30.0), "b": (20.0, 40.0), "c": (24.0, 35.0), "d": (40.0, 90.0), "e": (60.0, 80.0)}


def row(name: str, rank: int) -> LeaderboardRow:
    cost, returned = PLACES[name]
    return LeaderboardRow(
        rank, name, "search", "finished", {}, Interval(returned, returned, returned, "", 1), (0,), (returned,), 1, 1, 0.0,
        9, 9, None, None, metrics={"train/return": returned, "train/cost": cost},
        excess={COST.text: COST.excess(cost)},
    )  # fmt: skip


ROWS = [row(name, rank) for rank, name in enumerate("bcade", 1)]


@pytest.fixture
def axes():
    return Figure().subplots()


def test_the_front_is_what_no_trial_beats_in_both():
    assert set(exchange_front(RETURN, COST, PLACES)) == {"a", "b", "d"}
    floor = Constraint(metric="train/cost", min=25.0)
    assert set(exchange_front(RETURN, floor, PLACES)) == {"d", "e"}
    down = Goal(metric="train/return", direction="minimize")
    assert set(exchange_front(down, COST, PLACES)) == {"a"}


def test_both_sides_of_the_limit_are_told_apart_and_the_limit_is_drawn(axes):
    draw_limit(axes, ROWS, PLACES, {"a", "b", "d"}, RETURN, COST)
    kept, broken, ring = axes.collections[:3]
    assert sorted(map(tuple, kept.get_offsets())) == sorted(PLACES[name] for name in "abc")
    assert sorted(map(tuple, broken.get_offsets())) == sorted(PLACES[name] for name in "de")
    assert tuple(ring.get_offsets()[0]) == PLACES["b"]
    front, limit = axes.lines
    assert [*zip(*front.get_data(), strict=True)] == [PLACES[name] for name in "abd"]
    assert (set(limit.get_xdata()), to_hex(limit.get_color())) == ({25.0}, plots.FIRST)
    assert [text.get_text() for text in axes.texts] == ["b (best)"]


def test_a_limit_that_lies_outside_what_was_measured_is_drawn_all_the_same(axes):
    far = Constraint(metric="train/cost", max=500.0)
    draw_limit(axes, ROWS, PLACES, {"a"}, RETURN, far)
    assert axes.get_xlim()[0] < 10 < 500 < axes.get_xlim()[1]


def test_a_page_has_one_picture_per_limited_metric():
    goals = Goals((RETURN,), (COST, Constraint(metric="train/violations", max=1.0)))
    (picture,) = limit_pictures(goals, ROWS)
    assert picture.alt == "train/return over train/cost"
    assert limit_pictures(goals, []) == []


def test_curves_of_a_limited_metric_have_the_limit(axes):
    draw_limit_curves(axes, [plots.Curve("a", [1, 2], [3.0, 4.0], "first")], COST)
    limit, curve = axes.lines[:2]
    assert set(limit.get_ydata()) == {25.0}
    assert list(curve.get_ydata()) == [3.0, 4.0]
