"""Intervals against SciPy, closed forms and their promise of covering the truth 95 times in 100."""

from __future__ import annotations

import math

import numpy as np
import pytest
from flowsweep.platform.report.intervals import compare, interval, student_t, wilson
from scipy import stats


def test_students_interval_is_scipys():
    values = [0.61, 0.72, 0.55, 0.8, 0.67]
    found = student_t(values, "t")
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))


def test_students_interval_of_two_values_is_the_closed_form():
    # One degree of freedom is the Cauchy distribution: its 97.5 % quantile is tan(0.475 pi).
    found = student_t([1.0, 3.0], "t")
    assert found.high - found.mean == pytest.approx(math.tan(0.475 * math.pi))


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (1, 20), (13, 20), (20, 20), (480, 500)])
def test_wilsons_interval_is_scipys(successes, trials):
    found = wilson(successes, trials, "Wilson")
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilsons_interval_without_a_success_is_the_closed_form():
    z2 = stats.norm.ppf(0.975) ** 2
    assert wilson(0, 10, "Wilson").high == pytest.approx(z2 / (10 + z2))


def test_seeds_count_as_draws_from_two_on_and_episodes_below():
    success = [{"success": [1.0, 0.0, 1.0, 1.0]}, {"success": [1.0, 1.0, 1.0, 1.0]}]
    assert interval("success_rate", [0.75, 1.0], success).method == "t over 2 seeds"
    assert interval("success_rate", [0.75], success[:1]).method == "Wilson over 4 episodes, one seed"
    assert interval("return", [2.0], [{"return": [1.0, 3.0]}]).method == "t over 2 episodes, one seed"
    single = interval("validation_loss", [2.0], [{}])
    assert (single.mean, single.method) == (2.0, "one value, no interval")
    assert math.isnan(single.low)


def test_the_interval_of_a_rate_stays_within_zero_and_one():
    found = interval("success_rate", [0.9, 1.0], [{"success": [1.0]}, {"success": [1.0]}])
    assert (found.low >= 0, found.high) == (True, 1.0)


def test_ninety_five_of_a_hundred_intervals_cover_the_truth():
    random, draws = np.random.default_rng(0), 2000
    normal = sum(
        found.low <= 3.0 <= found.high
        for found in (student_t(random.normal(3, 2, 5).tolist(), "") for _ in range(draws))
    )
    rate = sum(
        found.low <= 0.8 <= found.high
        for found in (wilson(random.binomial(50, 0.8), 50, "") for _ in range(draws))
    )
    # Three standard errors of a share of 2000 are 0.015; Wilson's coverage swings around its target by about as much.
    assert normal / draws == pytest.approx(0.95, abs=0.015)
    assert rate / draws == pytest.approx(0.95, abs=0.02)


def test_paired_seeds_are_judged_by_scipys_paired_t():
    ours, theirs = [0.8, 0.9, 0.85, 0.95], [0.6, 0.8, 0.7, 0.75]
    found = compare("success_rate", ([0, 1, 2, 3], ours, []), ([3, 2, 1, 0], theirs[::-1], []))
    expected = stats.ttest_rel(ours, theirs)
    ends = expected.confidence_interval()
    assert found is not None
    assert (found.p_value, found.low, found.high) == pytest.approx((expected.pvalue, ends.low, ends.high))
    assert found.verdict.startswith("really better: +0.163")
    assert found.method == "paired t over 4 seeds"


def test_smaller_is_better_when_minimizing():
    first, second = ([0, 1, 2], [1.0, 1.1, 1.2], []), ([0, 1, 2], [2.0, 2.2, 2.1], [])
    better, worse = compare("loss", first, second, maximize=False), compare("loss", first, second)
    assert better is not None
    assert worse is not None
    assert better.verdict.startswith("really better")
    assert worse.verdict.startswith("really worse")


def test_paired_episodes_of_one_seed_are_judged_by_the_exact_test():
    ours = [{"success": [1.0] * 9 + [0.0] * 1 + [1.0] * 10}]
    theirs = [{"success": [0.0] * 9 + [1.0] * 1 + [1.0] * 10}]
    found = compare("success_rate", ([5], [0.95], ours), ([5], [0.55], theirs))
    assert found is not None
    assert found.p_value == pytest.approx(stats.binomtest(1, 10).pvalue)
    assert "exact McNemar over 20 episodes" in found.method


def test_chance_is_not_called_better():
    same = [{"success": [1.0, 0.0, 1.0, 1.0]}]
    found = compare("success_rate", ([0], [0.75], same), ([0], [0.75], same))
    assert found is not None
    assert found.p_value == 1.0
    assert found.verdict.startswith("not distinguishable")


def test_nothing_in_common_is_not_compared():
    assert compare("return", ([0], [1.0], [{}]), ([1], [2.0], [{}])) is None
    assert compare("return", ([0], [1.0], [{}]), ([0], [2.0], [{}])) is None


def test_a_score_that_is_no_number_is_neither_better_nor_worse():
    found = compare("return", ([0, 1], [math.nan, 1.0], []), ([0, 1], [0.0, 0.0], []))
    assert found is not None
    assert found.verdict.startswith("not comparable")


def test_equal_differences_are_judged_by_their_signs_whatever_the_rounding():
    nearly = 0.1 + 0.2 - 0.1  # 0.2 and a bit
    found = compare("return", ((0, 1), (nearly, 0.2), ({}, {})), ((0, 1), (0.0, 0.0), ({}, {})))
    assert found is not None
    assert found.p_value == 0.5
