import dataclasses

import numpy as np
import pytest
import torch
from flowsweep.trainables.base import Lane, Snapshot
from flowsweep.trainables.errors import Diverged, UserError
from flowsweep.trainables.fidec import JOINT_SYSTEM, SYSTEM
from flowsweep.trainables.fidec.pools import BLOCK
from flowsweep.trainables.streams import Streams

STAGES = ["pretrain", "pools", "refine", "joint"]
CHANGES = {
    "pretrain": [{}, {"learning_rate": 1e-2}],
    "pools": [{}, {}],
    "refine": [{}, {"kl_radius": 0.02, "residual_scale": 0.5, "discount": 0.9, "critic_learning_rate": 1e-2}],
    "joint": [{}, {"kl_radius": 0.02, "residual_scale": 0.5, "discount": 0.9, "learning_rate": 1e-3}],
}


def stage_of(name: str):
    return (JOINT_SYSTEM if name == "joint" else SYSTEM).stage(name)


def assert_equal(first: Snapshot, second: Snapshot):
    assert dict(first.meta) == dict(second.meta)
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        assert torch.equal(value, second.tensors[name]), name


@pytest.mark.parametrize("stage", STAGES)
def test_a_lane_of_a_fused_program_equals_the_same_trial_run_alone(stage, start, small):
    configs = [small(stage, **changes) for changes in CHANGES[stage]]
    together = start(stage, [(configs[0], 0), (configs[1], 1)])
    metrics = together.advance(4)
    for lane in range(2):
        alone = start(stage, [(configs[lane], lane)])
        for name, values in alone.advance(4).items():
            assert metrics[name][lane] == pytest.approx(values[0], rel=1e-5, abs=1e-6), name
        for name, value in alone.outputs()[0].tensors.items():
            torch.testing.assert_close(together.outputs()[lane].tensors[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("lanes", [1, 2])
def test_a_resumed_run_is_bit_equal_to_an_undisturbed_one(stage, lanes, start, small):
    pairs = [(small(stage, **CHANGES[stage][lane]), lane) for lane in range(lanes)]
    undisturbed, interrupted = start(stage, pairs), start(stage, pairs)
    undisturbed.advance(2)
    interrupted.advance(2)
    resumed = start(stage, pairs)
    resumed.load_state(interrupted.state())
    assert undisturbed.advance(2) == resumed.advance(2)
    assert_equal(undisturbed.state(), resumed.state())
    for first, second in zip(undisturbed.outputs(), resumed.outputs(), strict=True):
        assert_equal(first, second)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stored_state_does_not_move_when_training_goes_on(stage, start, small):
    learner = start(stage, [(small(stage), 0)])
    learner.advance(2)
    stored = learner.state()
    before = {name: value.clone() for name, value in stored.tensors.items()}
    learner.advance(2)
    assert all(torch.equal(before[name], value) for name, value in stored.tensors.items())


@pytest.mark.parametrize("stage", ["pretrain", "refine", "joint"])
def test_a_run_does_not_depend_on_how_it_is_cut_into_advances(stage, start, small):
    whole, pieces = start(stage, [(small(stage), 0)]), start(stage, [(small(stage), 0)])
    whole.advance(5)
    for steps in (1, 3, 1):
        pieces.advance(steps)
    assert_equal(whole.state(), pieces.state())


def test_pools_do_not_depend_on_the_number_of_chunks(start, small, make_dataset):
    source = make_dataset(episodes=3, length=BLOCK)
    tensors = []
    for chunks in (1, 3, 64):
        learner = start("pools", [(small("pools", steps=chunks), 0)], source)
        for _ in range(chunks):
            metrics = learner.advance(1)
            assert metrics.keys() == {"boundary_share", "fisher_trace", "eigenvalue_spread"}
        tensors.append(learner.outputs()[0].tensors)
    assert all(torch.equal(tensors[0][name], other[name]) for other in tensors[1:] for name in other)
    assert (
        tensors[0]["base_actions"].abs().sum((1, 2)).min() > 0
    )  # every state, the last included, was filled


def test_lanes_over_one_flow_share_one_copy_of_the_pools(start, small):
    learner = start("refine", [(small("refine"), 0)])
    shared = learner.lanes[0].upstream
    lanes = [Lane(small("refine", kl_radius=r), seed=s, upstream=shared) for r, s in ((0.01, 0), (0.02, 5))]
    fused = SYSTEM.stage("refine").start(lanes, learner.source, "cpu")
    assert len(fused.pools._tables) == 1
    fused.advance(3)
    alone = SYSTEM.stage("refine").start(lanes[1:], learner.source, "cpu")
    alone.advance(3)
    for name, value in alone.outputs()[0].tensors.items():
        torch.testing.assert_close(fused.outputs()[1].tensors[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stage", ["pretrain", "refine", "joint"])
def test_data_that_is_not_finite_ends_the_trial_as_diverged(stage, start, small, dataset):
    learner = start(stage, [(small(stage), 0)])
    column = "actions" if stage == "pretrain" else "rewards"
    broken = dataclasses.replace(dataset, **{column: np.full_like(getattr(dataset, column), np.nan)})
    learner = stage_of(stage).start(learner.lanes, broken, "cpu")
    with pytest.raises(Diverged, match="non-finite at step 3"):
        learner.advance(3)


def policies_agree(first, second, observations):
    draws = lambda: Streams([9], "act").generators  # noqa: E731
    return torch.equal(first.act(observations, draws()), second.act(observations, draws()))


def test_step_zero_is_exactly_the_base_policy(start, small):
    observations = torch.randn(1, 20, 3)
    base = start("pools", [(small("pools"), 0)]).policy()
    assert policies_agree(start("refine", [(small("refine"), 0)]).policy(), base, observations)
    uneven = start("refine", [(small("refine", zero_init=False), 0)])
    assert not policies_agree(uneven.policy(), base, observations)


@pytest.mark.parametrize("changes", [{}, {"constraint": "per_state_projection"}, {"residual_form": "tanh"}])
def test_a_refined_policy_rebuilt_from_its_outputs_alone_acts_the_same(changes, start, small):
    learner = start("refine", [(small("refine", **changes), 0)])
    learner.advance(5)
    finished = SYSTEM.stage("refine").finished(
        [Lane(small("refine", **changes), 0)], learner.outputs(), learner.source, "cpu"
    )
    observations = torch.randn(1, 20, 3)
    assert policies_agree(learner.policy(), finished.policy(), observations)
    actions = finished.policy().act(observations, Streams([1], "act").generators)
    assert actions.shape == (1, 20, 2)
    assert actions.abs().max() <= 1


@pytest.mark.parametrize("stage", ["pretrain", "pools"])
def test_the_base_policy_rebuilt_from_outputs_acts_the_same(stage, start, small):
    learner = start(stage, [(small(stage), 0)])
    learner.advance(small(stage).steps)
    finished = SYSTEM.stage(stage).finished(learner.lanes, learner.outputs(), learner.source, "cpu")
    assert policies_agree(learner.policy(), finished.policy(), torch.randn(1, 20, 3))
    with pytest.raises(RuntimeError, match="cannot advance"):
        finished.advance(1)


@pytest.mark.parametrize(
    "changes",
    [
        {"fisher_scope": "identity"},
        {"fisher_scope": "local"},
        {"fisher_samples": 1},
        {"score_estimator": "velocity", "clip_for_fisher": True},
        {"fisher_point": "clean", "fisher_time_width": 0.0},
        {"base_actions": 1},
    ],
)
@pytest.mark.parametrize("base_actions", ["pool", "fresh"])
def test_every_geometry_refines_from_pools_and_fresh_samples(changes, base_actions, start, small):
    learner = start(
        "refine",
        [(small("refine", base_actions=base_actions), 0)],
        pools=small("pools", **changes),
    )
    metrics = learner.advance(10)
    assert metrics["residual_rms"][0] > 0
    assert metrics["penalty"][0] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"constraint": "fixed_alpha"},
        {"normalization": "none"},
        {"normalization": "dataset_trace"},
        {"damping": "absolute", "damping_value": 1e-3},
        {"gradient_clip": "global"},
        {"gradient_clip": "none"},
        {"q_aggregation": "min"},
        {"normalize_q": False},
        {"critic_members": 1},
    ],
)
def test_every_option_of_the_refinement_trains(changes, start, small):
    learner = start("refine", [(small("refine", **changes), 0)])
    metrics = learner.advance(10)
    assert metrics["residual_rms"][0] > 0
    assert (metrics["alpha"] == [pytest.approx(10.0)]) == (changes.get("constraint") == "fixed_alpha")


def test_projection_holds_every_update_inside_the_radius(start, small):
    learner = start(
        "refine", [(small("refine", constraint="per_state_projection", residual_learning_rate=0.01), 0)]
    )
    learner.advance(10)
    metrics = learner.advance(10)
    assert metrics["penalty_over_radius"][0] <= 1 + 1e-5
    assert metrics["constraint_active"][0] > 0.5


def test_the_multiplier_stays_inside_its_bounds(start, small):
    config = small("refine", dual_learning_rate=1.0, alpha_init=1.0, log_alpha_min=-0.5, log_alpha_max=0.5)
    learner = start("refine", [(config, 0)])
    learner.advance(10)
    assert learner.params["dual"]["log_alpha"].item() == pytest.approx(-0.5)


def test_the_flow_learns_the_mean_action(start, small, dataset):
    learner = start("pretrain", [(small("pretrain", learning_rate=1e-2), 0)])
    first = learner.advance(1)
    last = learner.advance(150)
    assert last["validation_loss"][0] < 0.8 * first["validation_loss"][0]


def test_one_episode_and_one_action_entry_are_enough(start, small, make_dataset):
    source = make_dataset(episodes=1, length=50, actions=1)
    learner = start("refine", [(small("refine"), 0)], source)
    assert learner.advance(3)["penalty"][0] >= 0
    pretrain = start("pretrain", [(small("pretrain"), 0)], source)
    assert "validation_loss" not in pretrain.advance(2)


def test_every_reported_metric_is_explained(start, small):
    for stage in STAGES:
        reported = start(stage, [(small(stage), 0)]).advance(1)
        assert reported.keys() <= stage_of(stage).metrics.keys()


def test_without_an_environment_nothing_is_scored(start, small):
    (score,) = start("pretrain", [(small("pretrain"), 0)]).evaluate([0], 1)
    assert (score.metrics, score.episodes) == ({}, {})


@pytest.mark.parametrize("metric", ["return", "success_rate", "normalized_score", "episode_length"])
def test_a_score_without_an_environment_is_refused_with_the_way_out(metric, dataset):
    with pytest.raises(
        UserError, match=f"`refine/{metric}` is looked at.*data attach-environment.*`refine/critic_loss`"
    ):
        SYSTEM.stage("refine").check(dataset, ["td_error", metric])


def test_what_needs_no_environment_goes_on_without_one(dataset):
    (told,) = SYSTEM.stage("refine").check(dataset, ["td_error"])
    assert told.startswith("policies are not scored, since the dataset has no environment")


@pytest.mark.parametrize("alpha", [1e-8, 1.0, 1e5])
@pytest.mark.parametrize("constraint", ["fixed_alpha", "per_state_projection"])
def test_a_multiplier_that_is_not_trained_stays_what_it_is(alpha, constraint, start, small):
    learner = start("refine", [(small("refine", constraint=constraint, alpha_init=alpha), 0)])
    assert learner.advance(3)["alpha"] == [pytest.approx(alpha, rel=1e-5)]


def test_a_trained_multiplier_stays_within_its_bounds(start, small):
    config = small("refine", dual_learning_rate=1.0, log_alpha_min=2.2, log_alpha_max=2.4)
    learner = start("refine", [(config, 0)])
    learner.advance(5)
    assert 2.2 - 1e-6 <= learner.params["dual"]["log_alpha"].item() <= 2.4 + 1e-6
