"""The multiplier moves with the violation, and within its bounds."""

import pytest
import torch
from flowsweep.trainables.safe_rl.dual import Dual


def dual(kind, start=1.0, rate=0.1, largest=3.0, proportional=0.5, derivative=0.0):
    values = (torch.tensor([v, v]) for v in (start, rate, largest, proportional, derivative))
    return Dual(kind, *values)


def moved(kind, violation, times=1, **settings):
    one = dual(kind, **settings)
    for _ in range(times):
        (one.climb if kind == "adam_log" else one.move)(torch.tensor([violation, -violation]))
    return one.multiplier.tolist()


@pytest.mark.parametrize("kind", ["alm", "pid", "adam_log"])
def test_a_violated_constraint_raises_it_and_a_slack_one_lowers_it(kind):
    violated, slack = moved(kind, 0.5)
    assert violated > 1.0 > slack
    assert moved(kind, 0.5, times=5)[0] > violated


@pytest.mark.parametrize("kind", ["alm", "pid", "adam_log"])
def test_it_stays_within_its_bounds(kind):
    violated, slack = moved(kind, 1.0, times=200)
    assert violated == pytest.approx(3.0)
    assert 0 <= slack < 0.02


def test_one_step_of_alm_is_rate_times_violation_and_no_violation_counts_more_than_one():
    assert moved("alm", 0.5)[0] == pytest.approx(1.05)
    assert moved("alm", 50.0)[0] == pytest.approx(1.1)


def test_pid_adds_the_violation_itself_and_its_rise():
    assert moved("pid", 0.5)[0] == pytest.approx(1.0 + 0.1 * 0.5 + 0.5 * 0.5)
    assert moved("pid", 0.5, derivative=1.0)[0] == pytest.approx(1.0 + 0.1 * 0.5 + 0.5 * 0.5 + 0.5)


def test_adam_moves_the_logarithm_by_its_rate_whatever_the_violation():
    """The reason it is not the default: a tenfold violation is answered no faster than a tenth of one."""
    small, large = moved("adam_log", 0.1)[0], moved("adam_log", 10.0)[0]
    assert small == pytest.approx(large, rel=1e-4)
    assert small == pytest.approx(2.718281828**0.1, rel=1e-4)


@pytest.mark.parametrize("kind", ["alm", "pid", "adam_log"])
def test_it_goes_on_from_its_state(kind):
    one, other = dual(kind, derivative=0.3), dual(kind, derivative=0.3)
    step = lambda d, v: (d.climb if kind == "adam_log" else d.move)(torch.tensor(v))  # noqa: E731
    step(one, [0.4, -0.2])
    other.load({name: value.clone() for name, value in one.tensors().items()}, one.adam_steps)
    for each in (one, other):
        step(each, [0.9, 0.1])
    assert torch.equal(one.multiplier, other.multiplier)
