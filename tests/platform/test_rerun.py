"""The verdict of a rerun, on records whose differences are known."""

import random

import pytest
from flowsweep.platform.rerun import compare, difference_margin
from flowsweep.trainables.events import Evaluated, Event, Progress


def scored(successes, seed=0, loss=0.5):
    return Evaluated(
        stage="refine", step=10, steps=10, seeds=(seed,), episodes=[{"success": successes}],
        metrics={"success_rate": [sum(successes) / len(successes)]},
    )  # fmt: skip


def progress(loss):
    return Progress(stage="refine", step=10, steps=10, seeds=(0,), metrics={"loss": [loss]})


def verdict(old: list[Event], new: list[Event]):
    return compare("t0", "refine/success_rate", old, new, ())


HALF = [1.0, 0.0] * 25


def test_equal_to_the_last_bit_is_reproduced():
    found = verdict([progress(0.1), scored(HALF)], [progress(0.1), scored(HALF)])
    assert (found.verdict, found.compared, found.equal) == ("reproduced", 2, 2)


def test_an_equal_score_after_a_different_training_is_only_within_noise():
    found = verdict([progress(0.1), scored(HALF)], [progress(0.10000000000000002), scored(HALF)])
    assert found.verdict == "within noise"
    assert found.first_difference == "refine step 10, loss of seed 0: 0.1 then, 0.10000000000000002 now"


def test_a_small_difference_is_noise_and_a_large_one_is_not():
    near = [1.0] * 27 + [0.0] * 23
    far = [1.0] * 45 + [0.0] * 5
    assert verdict([scored(HALF)], [scored(near)]).verdict == "within noise"
    assert verdict([scored(HALF)], [scored(far)]).verdict == "not reproduced"


def test_not_a_number_equals_itself():
    assert verdict([progress(float("nan")), scored(HALF)], [progress(float("nan")), scored(HALF)]).equal == 2


def test_nothing_comparable_is_not_reproduced():
    assert verdict([scored(HALF)], []).verdict == "not reproduced"


def test_the_margin_is_welchs_interval():
    from scipy import stats

    draw = random.Random(0)
    old, new = ([float(draw.random() < p) for _ in range(n)] for p, n in ((0.4, 60), (0.6, 40)))
    found = difference_margin(scored(old), scored(new), "success_rate")
    expected = stats.ttest_ind(old, new, equal_var=False).confidence_interval(0.95)
    assert found == pytest.approx((expected.high - expected.low) / 2)
