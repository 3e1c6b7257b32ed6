"""The two stages as the platform drives them: nested steps, bit-equal resume, lanes, one prior for all."""

from __future__ import annotations

import pytest
import torch
from flowsweep.trainables.base import Lane, Snapshot
from flowsweep.trainables.config import parse
from flowsweep.trainables.errors import Diverged, UserError
from flowsweep.trainables.rdps import SYSTEM
from flowsweep.trainables.rdps.config import PosteriorConfig, PriorConfig
from flowsweep.trainables.rdps.metric_names import POSTERIOR, PRIOR
from flowsweep.trainables.rdps.problems.registry import open_problem

PRIOR_STAGE, POSTERIOR_STAGE = SYSTEM.stages
SMALL_PRIOR = PriorConfig(steps=60, width=32, blocks=1, batch_size=32)
SMALL = PosteriorConfig(steps=6, samples=3, problems_at_once=4, levels=12, outlier_share=0.2)


@pytest.fixture(scope="module")
def digits():
    return open_problem("digits-blur")


@pytest.fixture(scope="module")
def trained(digits) -> Snapshot:
    learner = PRIOR_STAGE.start([Lane(SMALL_PRIOR, 0)], digits, "cpu")
    learner.advance(60)
    return learner.outputs()[0]


def started(problem, prior: Snapshot | None, configs=(SMALL,), seeds=(0,), split="tune"):
    upstream = {"prior": prior or Snapshot({}, {"known": problem.prior_name})}
    lanes = [Lane(config, seed, upstream, split) for config, seed in zip(configs, seeds, strict=True)]
    return POSTERIOR_STAGE.start(lanes, problem, "cpu")


def test_training_the_prior_lowers_its_loss_and_resumes_bit_equal(digits):
    straight = PRIOR_STAGE.start([Lane(SMALL_PRIOR, 0)], digits, "cpu")
    first = straight.advance(30)
    state = straight.state()
    second = straight.advance(30)
    assert second["loss"][0] < first["loss"][0]
    resumed = PRIOR_STAGE.start([Lane(SMALL_PRIOR, 0)], digits, "cpu")
    resumed.load_state(state)
    assert resumed.advance(30) == second
    for one, other in zip(
        straight.outputs()[0].tensors.values(), resumed.outputs()[0].tensors.values(), strict=True
    ):
        assert torch.equal(one, other)


def test_lanes_of_the_prior_train_as_alone(digits):
    configs = [SMALL_PRIOR, SMALL_PRIOR.model_copy(update={"seed": 1, "learning_rate": 1e-3})]
    together = PRIOR_STAGE.start([Lane(SMALL_PRIOR, 0), Lane(SMALL_PRIOR, 5)], digits, "cpu")
    together.advance(20)
    alone = PRIOR_STAGE.start([Lane(SMALL_PRIOR, 7)], digits, "cpu")
    alone.advance(20)
    for output in together.outputs():
        assert all(
            torch.equal(value, alone.outputs()[0].tensors[name]) for name, value in output.tensors.items()
        )
    with pytest.raises(UserError, match="equal for all lanes"):
        PRIOR_STAGE.start([Lane(config, 0) for config in configs], digits, "cpu")


def test_one_prior_serves_all_seeds_and_all_problems_over_it(digits):
    other = open_problem("digits-cs")
    keys = [
        PRIOR_STAGE.identity(SMALL_PRIOR, {}, problem.fingerprint, seed)
        for problem, seed in ((digits, 0), (digits, 100), (other, 3))
    ]
    assert keys[0] == keys[1] == keys[2]
    assert "problem" in keys[0]
    changed = PRIOR_STAGE.identity(SMALL_PRIOR.model_copy(update={"seed": 1}), {}, digits.fingerprint, 0)
    assert changed != keys[0]
    assert PRIOR_STAGE.identity(SMALL_PRIOR, {}, open_problem("mixture-cs").fingerprint, 0) != keys[0]


def test_a_known_prior_has_nothing_to_train():
    problem = open_problem("mixture-blur")
    learner = PRIOR_STAGE.start([Lane(PriorConfig(steps=1), 0)], problem, "cpu")
    assert learner.advance(1) == {}
    assert learner.outputs()[0].tensors == {}
    assert set(learner.evaluate([0], 1)[0].metrics) <= set(PRIOR)


def test_stored_priors_are_what_was_trained(digits, trained):
    finished = PRIOR_STAGE.finished([Lane(SMALL_PRIOR, 0)], [trained], digits, "cpu")
    learner = PRIOR_STAGE.start([Lane(SMALL_PRIOR, 0)], digits, "cpu")
    learner.advance(60)
    assert finished.evaluate([4], 1) == learner.evaluate([4], 1)
    with pytest.raises(RuntimeError):
        finished.advance(1)


@pytest.mark.parametrize("sampler", ["dps_annealed", "daps"])
def test_how_steps_are_cut_changes_no_result(digits, trained, sampler):
    config = SMALL.model_copy(update={"sampler": sampler, "langevin_steps": 4})
    at_once, in_parts = (started(digits, trained, [config]) for _ in range(2))
    at_once.advance(6)
    for steps in (1, 2, 3):
        in_parts.advance(steps)
    assert at_once.evaluate([0], 1) == in_parts.evaluate([0], 1)
    assert torch.equal(at_once.outputs()[0].tensors["samples"], in_parts.outputs()[0].tensors["samples"])


def test_a_longer_run_begins_with_a_shorter(digits, trained):
    short, long = (started(digits, trained, [SMALL.model_copy(update={"steps": steps})]) for steps in (3, 7))
    short.advance(3)
    long.advance(7)
    assert long.evaluate([0], 1)[0].episodes["psnr"][:3] == short.evaluate([0], 1)[0].episodes["psnr"]


def test_resuming_is_bit_equal(digits, trained):
    config = SMALL.model_copy(update={"problems_at_once": 2})
    straight, resumed = (started(digits, trained, [config]) for _ in range(2))
    straight.advance(3)
    state = straight.state()
    ahead = straight.advance(3)
    resumed.load_state(state)
    assert resumed.step == 3, "a stored state stays what it was"
    assert resumed.advance(3) == ahead
    assert resumed.evaluate([0], 1) == straight.evaluate([0], 1)


def test_a_lane_equals_its_lone_run(digits, trained):
    strict = SMALL.model_copy(update={"threshold": 1.0, "guidance": 2.0})
    together = started(digits, trained, [SMALL, strict, SMALL], [0, 0, 1])
    together.advance(6)
    scores = together.evaluate([0, 0, 1], 1)
    for lane, (config, seed) in enumerate(((SMALL, 0), (strict, 0), (SMALL, 1))):
        alone = started(digits, trained, [config], [seed])
        alone.advance(6)
        assert alone.evaluate([seed], 1)[0] == scores[lane]
    assert len({score.metrics["psnr"] for score in scores}) == 3


def test_the_confirmation_is_scored_on_other_problems(digits, trained):
    tune, test = (started(digits, trained, split=split) for split in ("tune", "test"))
    tune.advance(2)
    test.advance(2)
    assert tune.evaluate([0], 1)[0].episodes["psnr"] != test.evaluate([0], 1)[0].episodes["psnr"]


def test_only_whole_reverse_processes_are_scored(digits, trained):
    learner = started(digits, trained)
    learner.advance(1)
    score = learner.evaluate([0], 1)[0]
    assert all(len(values) == 1 for values in score.episodes.values())
    assert learner.outputs()[0].tensors["samples"].shape == (1, 2, 3, 64)


def test_every_metric_is_declared_and_comparisons_come_on_request(digits, trained):
    everything = SMALL.model_copy(update={"compare_plain": True, "influence": True, "steps": 2})
    learner = started(digits, trained, [everything])
    training = learner.advance(2)
    score = learner.evaluate([0], 1)[0]
    assert set(training) | set(score.metrics) <= set(POSTERIOR)
    assert score.metrics["gain"] == pytest.approx(score.metrics["psnr"] - score.metrics["psnr_plain"])
    price = score.metrics["psnr_clean_plain"] - score.metrics["psnr_clean"]
    assert score.metrics["price_clean"] == pytest.approx(price)
    assert training["denoiser_calls"] == [24.0]
    bare = started(digits, trained)
    bare.advance(1)
    assert not {"gain", "price_clean", "influence_slope", "sw2"} & set(bare.evaluate([0], 1)[0].metrics)


def test_influence_is_one_for_the_squared_loss_and_nothing_for_one_that_lets_go():
    problem = open_problem("mixture-cs")
    base = PosteriorConfig(
        steps=2, samples=32, problems_at_once=2, levels=40, sampler="tmpd", influence=True, outlier_share=0.0
    )
    slopes = {}
    for kind in ("squared", "cauchy"):
        learner = started(problem, None, [base.model_copy(update={"kind": kind})])
        learner.advance(2)
        slopes[kind] = learner.evaluate([0], 1)[0].metrics["influence_slope"]
    assert slopes["squared"] == pytest.approx(1.0, abs=0.05)
    assert abs(slopes["cauchy"]) < 0.1


def test_a_known_posterior_is_compared_with():
    problem = open_problem("mixture-cs")
    config = PosteriorConfig(
        steps=2, samples=128, problems_at_once=2, sampler="tmpd", outliers="shift", outlier_size=100.0
    )
    found = {}
    for kind in ("squared", "cauchy"):
        learner = started(problem, None, [config.model_copy(update={"kind": kind})])
        learner.advance(2)
        found[kind] = learner.evaluate([0], 1)[0].metrics
    assert found["cauchy"]["sw2"] < 0.15
    assert found["squared"]["sw2"] > 1.0
    assert found["cauchy"]["c2st"] < 0.65
    assert found["squared"]["c2st"] > 0.95
    assert found["squared"]["sw2_clean"] < 0.1


def test_finished_posteriors_score_what_was_stored(digits, trained):
    learner = started(digits, trained)
    learner.advance(6)
    finished = POSTERIOR_STAGE.finished([Lane(SMALL, 0)], learner.outputs(), digits, "cpu")
    assert finished.evaluate([0], 1) == learner.evaluate([0], 1)
    assert finished.step == 6
    with pytest.raises(RuntimeError):
        finished.advance(1)


def test_a_broken_denoiser_is_divergence_and_names_the_denoiser(digits, trained):
    broken = {name: value.clone() for name, value in trained.tensors.items()}
    broken["network.out.bias"] += torch.nan
    learner = started(digits, Snapshot(broken, trained.meta))
    with pytest.raises(Diverged, match="the denoiser's output became non-finite at step 1"):
        learner.advance(1)


def test_a_pull_too_strong_is_divergence_of_the_samples(digits, trained):
    learner = started(digits, trained, [SMALL.model_copy(update={"kind": "squared", "guidance": 1e6})])
    with pytest.raises(Diverged, match="a posterior sample"):
        learner.advance(1)


def test_a_bad_score_is_no_divergence(digits, trained):
    """The squared loss under gross outliers fails statistically: finite, and bad."""
    learner = started(digits, trained, [SMALL.model_copy(update={"kind": "squared"})])
    learner.advance(4)
    assert learner.evaluate([0], 1)[0].metrics["psnr"] < learner.evaluate([0], 1)[0].metrics["psnr_clean"] - 1


def test_more_steps_than_problems_are_refused_when_planned_and_when_started(digits, trained):
    config = SMALL.model_copy(update={"steps": 200})
    with pytest.raises(UserError, match="has 147 to tune on"):
        POSTERIOR_STAGE.cost({"prior": SMALL_PRIOR, "posterior": config}, digits)
    with pytest.raises(UserError, match="has 150 to test on"):
        started(digits, trained, [config], split="test")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", 0.0),
        ("threshold", -1.0),
        ("outlier_share", 1.0),
        ("outlier_share", -0.1),
        ("guidance", 0.0),
        ("kind", "cauchyy"),
        ("sampler", "dps"),
        ("scale", "auto"),
        ("samples", 0),
        ("langevin_step", 1.5),
    ],
)
def test_bad_values_are_refused_by_key(key, value):
    with pytest.raises(UserError) as refused:
        parse(PosteriorConfig, {key: value}, "posterior")
    assert f"posterior.{key}" in str(refused.value)
    assert str(value) in str(refused.value)


def test_fields_nothing_reads_are_named():
    squared = PosteriorConfig(kind="squared", sampler="daps")
    assert {"threshold", "scale", "weights", "passes", "guidance", "solver"} <= set(squared.unread())
    robust = PosteriorConfig(kind="cauchy", sampler="pigdm")
    assert not {"threshold", "scale", "passes", "guidance", "solver"} & set(robust.unread())


def test_searching_the_contamination_is_pointed_out():
    from flowsweep.trainables.base import Evidence

    trials = [Evidence("t0", PosteriorConfig(), {}), Evidence("t1", PosteriorConfig(), {})]
    found = POSTERIOR_STAGE.findings(trials, {"outlier_share", "kind"})
    assert [(one.rule, one.setting) for one in found] == [("contamination_searched", "outlier_share")]
    assert POSTERIOR_STAGE.findings(trials, {"kind"}) == []


def test_reconstructions_are_pictured_side_by_side(digits, trained, tmp_path):
    for problem, prior in ((digits, trained), (open_problem("mixture-blur"), None)):
        learner = started(problem, prior)
        learner.advance(2)
        (path,) = learner.illustrate(tmp_path / problem.name, [0])
        assert path.stat().st_size > 10_000


def test_estimates_grow_with_the_work(digits):
    def core_s(**changes):
        configs = {"prior": PriorConfig(), "posterior": SMALL.model_copy(update=changes)}
        return POSTERIOR_STAGE.cost(configs, digits).core_s

    assert core_s(levels=24) == pytest.approx(2 * core_s())
    assert core_s(compare_plain=True) == pytest.approx(2 * core_s())
    assert PRIOR_STAGE.cost({"prior": PriorConfig()}, digits).core_s > 10
    assert PRIOR_STAGE.cost({"prior": PriorConfig()}, open_problem("mixture-cs")).core_s == 0
