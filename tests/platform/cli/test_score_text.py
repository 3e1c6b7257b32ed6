"""How a score and its interval are written in a table."""

from types import SimpleNamespace

import pytest
from flowsweep.platform.cli.leaderboards import score_text
from flowsweep.platform.report.intervals import Interval

NAN = float("nan")


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (Interval(0.905, 0.788, 1.0, "t over 4 seeds", 4), "0.905 [0.788, 1.000]"),
        (Interval(3.076e-6, 2e-6, 4e-6, "t over 3 seeds", 3), "3.08e-06 [2e-06, 4e-06]"),
        (Interval(0.0, 0.0, 0.0, "t over 3 seeds", 3), "0.000 [0.000, 0.000]"),
        (Interval(3.076e-6, NAN, NAN, "one value, no interval", 1), "3.076e-06"),
    ],
)
def test_a_score_keeps_its_digits_and_an_interval_is_shown_where_there_is_one(score, text):
    assert score_text(SimpleNamespace(score=score)) == text
