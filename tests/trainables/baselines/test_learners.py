import dataclasses

import numpy as np
import pytest
import torch
from flowsweep.trainables.base import Lane, Snapshot
from flowsweep.trainables.baselines import FQL, IFQL, REBRAC
from flowsweep.trainables.baselines.ifql import BestOfFlow
from flowsweep.trainables.data.columns import Columns
from flowsweep.trainables.errors import Diverged, UserError
from flowsweep.trainables.fidec.learner import flow_from
from flowsweep.trainables.nets import MLP
from flowsweep.trainables.streams import Streams

SYSTEMS = {system.name: system for system in (FQL, IFQL, REBRAC)}
EACH = pytest.mark.parametrize("system", SYSTEMS)
CHANGES = {
    "fql": {"alpha": 30.0, "discount": 0.9, "policy_learning_rate": 1e-2},
    "ifql": {"expectile": 0.6, "target_rate": 0.1, "value_learning_rate": 1e-2},
    "rebrac": {"actor_penalty": 0.5, "critic_penalty": 0.0, "target_noise": 0.1, "actor_learning_rate": 1e-2},
}


def assert_equal(first: Snapshot, second: Snapshot):
    assert dict(first.meta) == dict(second.meta)
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        assert torch.equal(value, second.tensors[name]), name


def stage(system: str):
    return SYSTEMS[system].stages[-1]


@EACH
def test_a_lane_of_a_fused_program_equals_the_same_trial_run_alone(system, start, small):
    configs = [small(system), small(system, **CHANGES[system])]
    together = start(system, [(configs[0], 0), (configs[1], 1)])
    metrics = together.advance(5)
    for lane in range(2):
        alone = start(system, [(configs[lane], lane)])
        for name, values in alone.advance(5).items():
            assert metrics[name][lane] == pytest.approx(values[0], rel=1e-5, abs=1e-6), name
        for name, value in alone.outputs()[0].tensors.items():
            torch.testing.assert_close(together.outputs()[lane].tensors[name], value, rtol=1e-4, atol=1e-6)


@EACH
@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("before", [1, 2])
def test_a_resumed_run_is_bit_equal_to_an_undisturbed_one(system, lanes, before, start, small):
    pairs = [(small(system, **(CHANGES[system] if lane else {})), lane) for lane in range(lanes)]
    undisturbed, interrupted = start(system, pairs), start(system, pairs)
    undisturbed.advance(before)
    interrupted.advance(before)
    resumed = start(system, pairs)
    resumed.load_state(interrupted.state())
    interrupted.advance(3)  # what is stored must not move with the learner it came from
    assert undisturbed.advance(2) == resumed.advance(2)
    assert_equal(undisturbed.state(), resumed.state())
    for first, second in zip(undisturbed.outputs(), resumed.outputs(), strict=True):
        assert_equal(first, second)


@EACH
def test_a_stored_state_does_not_move_when_training_goes_on(system, start, small):
    learner = start(system, [(small(system), 0)])
    learner.advance(2)
    stored = learner.state()
    before = {name: value.clone() for name, value in stored.tensors.items()}
    learner.advance(2)
    assert all(torch.equal(before[name], value) for name, value in stored.tensors.items())


@EACH
def test_a_run_does_not_depend_on_how_it_is_cut_into_advances(system, start, small):
    whole, pieces = start(system, [(small(system), 0)]), start(system, [(small(system), 0)])
    means = whole.advance(6)
    parts = [pieces.advance(steps) for steps in (1, 1, 4)]
    assert_equal(whole.state(), pieces.state())
    for name, values in means.items():
        weighted = sum(part[name][0] * steps for part, steps in zip(parts, (1, 1, 4), strict=True))
        assert values[0] == pytest.approx(weighted / 6, rel=1e-4, abs=1e-6), name


@EACH
def test_data_that_is_not_finite_ends_the_trial_as_diverged(system, start, small, dataset):
    broken = dataclasses.replace(dataset, rewards=np.full_like(dataset.rewards, np.nan))
    with pytest.raises(Diverged, match="non-finite at step 3"):
        start(system, [(small(system), 0)], broken).advance(3)


@EACH
def test_a_policy_rebuilt_from_its_outputs_alone_acts_the_same(system, start, small):
    learner = start(system, [(small(system), 0), (small(system), 1)])
    learner.advance(5)
    lanes = [Lane(small(system), seed) for seed in (0, 1)]
    finished = stage(system).finished(lanes, learner.outputs(), learner.source, "cpu")
    observations = torch.randn(2, 20, 3)
    act = lambda policy: policy.act(observations, Streams([7, 8], "act").generators)  # noqa: E731
    actions = act(finished.policy())
    assert torch.equal(actions, act(learner.policy()))
    assert actions.shape == (2, 20, 2)
    assert actions.abs().max() <= 1
    with pytest.raises(RuntimeError, match="cannot advance"):
        finished.advance(1)


@EACH
def test_every_reported_metric_is_explained(system, start, small):
    reported = start(system, [(small(system), 0)]).advance(1)
    assert reported.keys() <= stage(system).metrics.keys()
    assert set(stage(system).metrics) - reported.keys() == {
        "success_rate",
        "return",
        "normalized_score",
        "episode_length",
    }


@EACH
def test_without_an_environment_nothing_is_scored_and_a_score_is_refused_with_the_way_out(
    system, start, small, dataset
):
    assert start(system, [(small(system), 0)]).evaluate([0], 1)[0].metrics == {}
    with pytest.raises(UserError, match=r"no environment to score.*flowsweep data attach-environment"):
        stage(system).check(dataset, ["return"])


@EACH
def test_evaluating_leaves_training_undisturbed_and_equals_the_finished_policys(
    system, start, small, umaze_dataset, tmp_path
):
    source = SYSTEMS[system].open_source(umaze_dataset)
    chosen = SYSTEMS[system]
    lanes = [Lane(small(system), 0)]
    if chosen.stages[0].name == "pretrain":
        config = chosen.presets["default"]()["pretrain"].model_copy(update={"hidden": (16,), "flow_steps": 2})
        flow = chosen.stages[0].start([Lane(config, 0)], source, "cpu").outputs()[0]
        lanes = [Lane(small(system), 0, {"pretrain": flow})]
    evaluated, undisturbed = (stage(system).start(lanes, source, "cpu") for _ in range(2))
    scores = evaluated.evaluate([7], 2)
    assert scores == evaluated.evaluate([7], 2)
    assert {"success_rate", "return", "episode_length"} <= scores[0].metrics.keys()
    assert scores[0].metrics.keys() <= stage(system).metrics.keys()
    evaluated.advance(3)
    undisturbed.advance(3)
    assert_equal(evaluated.state(), undisturbed.state())
    finished = stage(system).finished(lanes, undisturbed.outputs(), source, "cpu")
    assert finished.evaluate([7], 2) == undisturbed.evaluate([7], 2)


def test_distillation_approaches_the_flow_where_alpha_is_large(start, small):
    learner = start("fql", [(small("fql", alpha=1e4, policy_learning_rate=1e-2), 0)])
    first = learner.advance(1)["distillation_loss"][0]
    learner.advance(150)
    assert learner.advance(20)["distillation_loss"][0] < 0.3 * first


def test_the_best_of_many_samples_has_the_highest_value(flows):
    flow = flow_from(flows, "cpu")
    critic = MLP(3 + 2, 1, (), members=2)
    # A linear critic that is the first action entry: the chosen action must be the sample with the largest.
    weights = {"0.weight": torch.zeros(2, 2, 5, 1), "0.bias": torch.zeros(2, 2, 1, 1)}
    weights["0.weight"][:, :, 3] = 1.0
    observations = torch.randn(2, 5, 3)
    chosen = BestOfFlow(flow, critic, weights, 16).act(observations, Streams([1, 2], "act").generators)
    noise = Streams([1, 2], "act").normal(5 * 16, 2)
    states = flow.normalized(observations).repeat_interleave(16, 1)
    samples = flow.sample(states, noise).clamp(-1, 1).view(2, 5, 16, 2)
    assert torch.equal(chosen[..., 0], samples[..., 0].amax(-1))


def test_the_actor_waits_between_its_updates(start, small):
    learner = start("rebrac", [(small("rebrac", actor_delay=3), 0)])
    seen = []
    for _ in range(6):
        before = {name: value.detach().clone() for name, value in learner.params["actor"].items()}
        target = learner.targets["critic"]["0.weight"].clone()
        learner.advance(1)
        moved = any(not torch.equal(before[name], value) for name, value in learner.params["actor"].items())
        assert moved == (not torch.equal(target, learner.targets["critic"]["0.weight"]))
        seen.append(moved)
    assert seen == [True, False, False, True, False, False]


def test_the_actor_s_output_layer_starts_as_small_as_asked(start, small):
    full, small_start = (
        start("rebrac", [(small("rebrac", actor_output_scale=size), 0)]) for size in (1.0, 0.01)
    )
    last = f"{len(full.config.hidden)}.weight"
    for name, value in full.params["actor"].items():
        factor = 0.01 if name == last else 1.0
        torch.testing.assert_close(small_start.params["actor"][name], factor * value)
    assert REBRAC.presets["official"]()["actor_critic"].actor_output_scale == 0.01


def test_the_next_action_is_known_except_at_the_end_of_an_episode(dataset):
    columns = Columns(dataset, "cpu")
    index = torch.arange(len(columns)).unsqueeze(0)
    actions, follows = columns.next_actions(index)
    assert torch.equal(follows[0].bool(), ~torch.from_numpy(dataset.boundaries))
    inside = torch.from_numpy(np.flatnonzero(~dataset.boundaries))
    assert torch.equal(actions[0, inside], columns.actions[inside + 1])
