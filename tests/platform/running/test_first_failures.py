"""A sweep whose first trials all fail alike stops; one that gets anywhere goes on."""

from __future__ import annotations

import pytest
from flowsweep.platform.journal.events import Entry, TrialEnded
from flowsweep.platform.running.first_failures import FEW, FirstFailures


def ending(reason: str, failure: str | None = "code_error", status: str = "failed") -> TrialEnded:
    return TrialEnded(status=status, reason=reason, failure=failure)


@pytest.fixture
def first() -> FirstFailures:
    return FirstFailures()


def test_a_few_alike_are_enough_whatever_numbers_they_name(first):
    said = [first.take(f"t{n}", ending(f"ValueError: rate 0.{n} is none")) for n in range(FEW)]
    assert said[:-1] == [None] * (FEW - 1)
    assert said[-1] == f"the first {FEW} trials all failed: ValueError: rate 0.{FEW - 1} is none"
    assert first.take("t9", ending("ValueError: rate 1 is none")) is None, "said once"


@pytest.mark.parametrize(
    "other",
    [
        ending("KeyError: 'x'"),
        ending("loss became non-finite", "diverged", "diverged"),
        ending("too much", "out_of_memory", "out_of_memory"),
        ending("all steps done", None, "finished"),
    ],
)
def test_anything_else_among_the_first_lets_the_search_go_on(first, other):
    for number in range(FEW - 1):
        first.take(f"t{number}", ending("ValueError: no"))
    assert first.take("t7", other) is None
    assert [first.take(f"t{n}", ending("ValueError: no")) for n in range(8, 8 + FEW)] == [None] * FEW


def test_a_trial_that_was_scored_shows_that_it_can_be_done(first):
    first.passed()
    assert [first.take(f"t{n}", ending("ValueError: no")) for n in range(FEW)] == [None] * FEW


def test_a_trial_that_only_left_says_nothing(first):
    for number in range(FEW - 1):
        first.take(f"t{number}", ending("ValueError: no"))
    assert first.take("t7", ending("stop requested", None, "cancelled")) is None
    assert first.take("t8", ending("ValueError: no")) is not None


def test_a_sweep_that_once_got_somewhere_is_not_watched():
    first = FirstFailures(
        [Entry(seq=0, time=0.0, trial="t0", event=ending("all steps done", None, "finished"))]
    )
    assert [first.take(f"t{n}", ending("ValueError: no")) for n in range(FEW)] == [None] * FEW
