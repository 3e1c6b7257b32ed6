"""Problems: disjoint lists, nested places, outliers as asked for, and what is refused."""

from __future__ import annotations

import pytest
import torch
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.rdps.contamination import Contamination
from flowsweep.trainables.rdps.problems.registry import PROBLEMS, check_name, open_problem
from flowsweep.trainables.rdps.source import open_source

PLAIN = Contamination(0.1)


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_every_problem_opens_with_its_operator_checked(name):
    problem = open_source(name)
    cases = problem.cases("tune", 0, range(2), PLAIN)
    facts = problem.describe()
    assert cases.truth.shape == (2, facts["unknowns"])
    assert cases.clean.shape == cases.soiled.shape == cases.outliers.shape == (2, facts["observations"])
    assert facts["findings"] == []


def test_an_unknown_problem_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="digits-blur") as refused:
        open_source("digits-blurr")
    assert (refused.value.key, refused.value.value) == ("problem", "digits-blurr")


def test_a_name_is_known_without_opening_it():
    assert "Darcy" in check_name("darcy-1d").title


def test_problems_over_one_prior_share_its_part_of_the_fingerprint():
    one, other, apart = (
        open_problem(name).fingerprint for name in ("digits-blur", "digits-cs", "mixture-cs")
    )
    assert one.split(":")[0] == other.split(":")[0] != apart.split(":")[0]
    assert len({one, other, apart}) == 3


def test_truths_to_tune_on_and_to_test_on_are_disjoint():
    problem = open_problem("digits-blur")
    tune = {tuple(row.tolist()) for row in problem.truths.take("tune", 0, range(147))}
    test = {tuple(row.tolist()) for row in problem.truths.take("test", 0, range(150))}
    examples = {tuple(row.tolist()) for row in problem.examples}
    assert len(tune) == 147
    assert len(test) == 150
    assert not tune & test
    assert not (tune | test) & examples


def test_drawn_truths_differ_between_the_splits():
    problem = open_problem("mixture-cs")
    assert not torch.equal(problem.truths.take("tune", 0, range(2)), problem.truths.take("test", 0, range(2)))


def test_a_longer_list_begins_with_a_shorter():
    for name in ("mixture-blur", "digits-sr"):
        problem = open_problem(name)
        long, short = (problem.cases("tune", 3, range(count), PLAIN) for count in (9, 4))
        for field in ("truth", "clean", "soiled", "outliers"):
            assert torch.equal(getattr(long, field)[:4], getattr(short, field))


def test_seeds_make_other_lists():
    problem = open_problem("digits-blur")
    one, other = (problem.cases("tune", seed, range(4), PLAIN) for seed in (0, 1))
    assert not torch.equal(one.truth, other.truth)
    assert not torch.equal(one.outliers, other.outliers)


def test_clean_data_do_not_depend_on_the_contamination():
    problem = open_problem("digits-cs")
    one, other = (problem.cases("tune", 0, range(3), Contamination(share)) for share in (0.0, 0.4))
    assert torch.equal(one.clean, other.clean)
    assert not one.outliers.any()


def test_a_list_shorter_than_the_steps_is_refused():
    problem = open_problem("digits-blur")
    with pytest.raises(UserError, match="has 147 to tune on") as refused:
        problem.require(148, "tune")
    assert (refused.value.key, refused.value.value) == ("posterior.steps", 148)
    problem.require(147, "tune")


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.01, 1), (0.1, 4), (0.5, 20)])
def test_as_many_outliers_as_asked_for_and_at_least_one(share, count):
    cases = open_problem("digits-cs").cases("tune", 0, range(5), Contamination(share))
    assert cases.outliers.sum(1).tolist() == [count] * 5
    assert torch.equal(cases.clean[~cases.outliers], cases.soiled[~cases.outliers])


def test_in_range_outliers_are_as_large_as_data_and_gross_ones_larger():
    problem = open_problem("digits-blur")
    for kind, low, high in (("in_range", 1.0, 1.0), ("gross", 2.0, 10.0)):
        cases = problem.cases("tune", 0, range(40), Contamination(0.2, kind))
        sizes = cases.soiled[cases.outliers].abs() / problem.amplitude
        assert float(sizes.max()) <= high * (1 + 1e-6)
        assert float(sizes.max()) >= low * (1 - 1e-6)


def test_shifted_outliers_move_by_noise_deviations():
    problem = open_problem("mixture-cs")
    cases = problem.cases("tune", 0, range(4), Contamination(0.1, "shift", 100.0))
    moved = (cases.soiled - cases.clean)[cases.outliers].abs()
    assert torch.allclose(moved, torch.full_like(moved, 100 * problem.noise))


def test_the_exact_posterior_leaves_outliers_out():
    problem = open_problem("mixture-cs")
    cases = problem.cases("tune", 0, [0], Contamination(0.1, "shift", 1e6))
    exact = problem.posterior(cases.soiled[0], cases.outliers[0])
    assert float((exact.weights @ exact.means - cases.truth[0]).abs().max()) < 1.0


def test_drawing_a_problem_refuses_a_share_that_is_none(tmp_path):
    problem = open_problem("darcy-1d")
    with pytest.raises(UserError, match="below 1"):
        problem.draw(tmp_path / "x.png", seed=0, share=1.0)
    assert problem.draw(tmp_path / "x.png", seed=0, share=0.2).stat().st_size > 10_000
