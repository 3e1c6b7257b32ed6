"""What every method of safe reinforcement learning promises, held on the detour and on a rope of our own."""

import pytest
import torch
from flowsweep.trainables.base import Lane, Snapshot
from flowsweep.trainables.checkpoints import CheckpointPolicy, Checkpoints
from flowsweep.trainables.config import parse
from flowsweep.trainables.envs.constrained_names import open_environment
from flowsweep.trainables.errors import EnvironmentFailed, UserError
from flowsweep.trainables.lane_groups import LaneGroups
from flowsweep.trainables.safe_rl.critics import cost_td_loss, reward_td_loss
from flowsweep.trainables.safe_rl.replay import Replay, columns
from flowsweep.trainables.training import Training

from .conftest import SMALL, SYSTEMS, rope

EACH = pytest.mark.parametrize("system", SYSTEMS)
CHANGES = {
    "algd": {"rho": 0.3, "beta": 0.2, "sigma_max": 0.5, "dual_start": 0.4, "cost_limit": 3.0},
    "sac-lagrangian": {"policy_learning_rate": 1e-2, "entropy_target": -1.0, "cost_limit": 3.0},
    "cal": {"convexity": 1.0, "cost_margin": 2.0, "cost_discount": 0.9},
}


def assert_equal(first: Snapshot, second: Snapshot):
    assert dict(first.meta) == dict(second.meta)
    for mine, other in ((first.tensors, second.tensors), (first.log, second.log)):
        assert mine.keys() == other.keys()
        for name, value in mine.items():
            assert torch.equal(value, other[name]), name


@EACH
def test_a_lane_of_a_fused_program_equals_the_same_trial_run_alone_to_the_last_bit(system, start):
    two = {"cost_critics": 2}  # one critic alone is a product of another kind
    pairs = [(two, 0), (two | CHANGES[system], 1), (two, 2)]
    together = start(system, pairs)
    metrics = together.advance(70)
    outputs = together.outputs()
    for lane, pair in enumerate(pairs):
        alone = start(system, [pair])
        for name, values in alone.advance(70).items():
            assert values[0] == pytest.approx(metrics[name][lane], rel=1e-5, abs=1e-6), name
        (output,) = alone.outputs()
        assert output.meta == outputs[lane].meta
        for name, value in output.tensors.items():
            assert torch.equal(value, outputs[lane].tensors[name]), name


@EACH
@pytest.mark.parametrize("before", [1, 65, 100])
def test_a_resumed_run_is_bit_equal_to_an_undisturbed_one_also_in_mid_episode(system, before, start):
    pairs = [({}, 0), (CHANGES[system], 1)]
    undisturbed, interrupted, resumed = (start(system, pairs) for _ in range(3))
    undisturbed.advance(before)
    interrupted.advance(before)
    state = interrupted.state()
    interrupted.advance(5)  # what is stored must not move with the learner it came from
    resumed.load_state(state)
    assert undisturbed.advance(30) == resumed.advance(30)
    assert_equal(undisturbed.state(), resumed.state())


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "ddpm"},
        {"energy": "lagrangian", "score_target": "action", "score_estimator": "gradient"},
        {"energy": "penalty", "actor": "score_only", "score_estimator": "noise"},
        {"dual": "adam_log", "dual_signal": "replay", "normalize": False},
        {"dual": "pid", "dual_signal": "initial_states", "updates_per_step": 2, "target_every": 3},
        {"denoising_steps": 1, "score_samples": 1, "cost_critics": 1, "dual_signal": "episodes"},
        {"best_of": 4, "replay_capacity": 20},
    ],
    ids=lambda changes: "-".join(map(str, changes)),
)
def test_every_option_trains_and_resumes(changes, start):
    one, other = start("algd", [(changes, 0)]), start("algd", [(changes, 0)])
    metrics = one.advance(65)
    assert set(metrics) <= set(SYSTEMS["algd"].stages[-1].metrics)
    other.load_state(one.state())
    assert one.advance(3) == other.advance(3)
    score = one.evaluate([9], 2)[0]
    assert set(score.metrics) <= set(SYSTEMS["algd"].stages[-1].metrics)
    assert ("best_of_return" in score.metrics) == ("best_of" in changes)


@EACH
def test_what_is_stored_scores_as_the_learner_it_came_from(system, start):
    learner = start(system, [({}, 0), (CHANGES[system], 1)])
    learner.advance(70)
    scores = learner.evaluate([3, 4], 3)
    finished = (
        SYSTEMS[system]
        .stages[-1]
        .finished(learner.lanes, learner.outputs(), open_environment("detour-v0"), "cpu")
    )
    assert finished.evaluate([3, 4], 3) == scores
    assert learner.evaluate([3, 4], 3) == scores, "scoring disturbs nothing"
    assert scores[0].metrics["environment_steps"] == 140
    assert scores[0].metrics["training_episodes"] == 1
    assert len(scores[0].episodes["cost"]) == 3


def test_the_value_of_what_follows_counts_where_an_episode_was_cut_and_not_where_the_task_ended():
    """Two rows alike but for the mask: their TD targets differ by the discounted value of the next state."""
    from flowsweep.trainables.safe_rl.critics import Critics
    from flowsweep.trainables.streams import Streams

    critics = Critics.of(3, (8,), 2)
    draws = Streams([0], "init").generators
    reward, cost = critics.reward.init(draws), critics.cost.init(draws)
    replay = Replay(torch.empty(0, 1, columns(2, 1)), 2, 10, (2, 1))
    row = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 2.0, 0.0]])
    replay.append(row)
    replay.append(row + torch.tensor([[0.0] * 7 + [1.0]]))
    action = torch.tensor([[[0.6]]])
    following = torch.tensor([[[0.4, 0.5, 0.6]]])
    zero = {name: torch.zeros_like(v) for name, v in reward.items()}
    zero_cost = {name: torch.zeros_like(v) for name, v in cost.items()}
    for mask in (0, 1):
        batch = replay.batch(torch.tensor([[mask]]))
        loss, _ = reward_td_loss(zero, reward, batch, action, critics.reward, torch.tensor([0.9]))
        value = float(critics.reward(reward, following).amin())
        assert float(loss) == pytest.approx((1.0 + mask * 0.9 * value) ** 2, rel=1e-5)
        loss, _ = cost_td_loss(zero_cost, cost, batch, action, critics.cost, torch.tensor([0.5]))
        values = critics.cost(cost, following).flatten()
        assert float(loss) == pytest.approx(float((2.0 + mask * 0.5 * values).square().mean()), rel=1e-5)


@pytest.mark.parametrize(("behaviour", "masks"), [({"terminate_at": 7}, 0.0), ({}, 1.0)])
def test_the_mask_of_an_episode_s_last_row_says_how_it_ended(behaviour, masks, start):
    learner = start("algd", [({}, 0)], rope(steps=7, **behaviour))
    learner.advance(14)
    rows = learner.state().log["rows"][:, 0]
    assert rows[[6, 13], -1].tolist() == [masks, masks]
    assert rows[[0, 5, 7, 12], -1].tolist() == [1.0] * 4
    # An episode's first state is a new one, not the last of the episode before.
    assert not torch.equal(rows[7, :2], rows[6, 3:5])
    assert torch.equal(rows[8, :2], rows[7, 3:5])


def test_the_cost_of_training_is_counted_as_the_rows_tell_it(start):
    learner = start("sac-lagrangian", [({}, 0)], rope(steps=7))
    learner.advance(70)
    costs = learner.state().log["rows"][:, 0, -2]
    metrics = learner.evaluate([0], 1)[0].metrics
    assert metrics["training_cost"] == float(costs.sum())
    assert metrics["training_episodes"] == 10
    assert metrics["training_violations"] == float((costs.view(10, 7).sum(1) > 2.0).sum())


@pytest.mark.parametrize(
    ("behaviour", "said"), [({"break_at": 5}, "the rope tore"), ({"nan_at": 5}, "reward that is not finite")]
)
def test_an_environment_that_fails_in_mid_episode_ends_the_trial_with_its_reason_and_state(
    behaviour, said, tmp_path, start
):
    learner = start("algd", [({"steps": 40}, 0)], rope(), warm=10)
    learner.collector.environments[0].raw = _failing(learner, behaviour)
    with pytest.raises(EnvironmentFailed, match=said):
        list(Training("train", learner, 40, [0], tmp_path, policy=CheckpointPolicy(every_s=None)))
    stored = Checkpoints(tmp_path).latest()
    assert stored.meta["learner"]["step"] == 4
    assert len(stored.log["rows"]) == 4
    # The environment is mended: what comes out equals what had never failed.
    mended, whole = (start("algd", [({"steps": 40}, 0)], rope(), warm=10) for _ in range(2))
    list(Training("train", mended, 40, [0], tmp_path))
    whole.advance(40)
    assert torch.equal(
        mended.outputs()[0].tensors["cost.0.weight"], whole.outputs()[0].tensors["cost.0.weight"]
    )


def _failing(learner, behaviour):
    """The environment under way, begun anew so that it will fail."""
    broken = rope(**behaviour).definition.make(False)
    environment = learner.collector.environments[0]
    place = environment.raw.place
    broken.reset(seed=0)
    broken.place = place
    return broken


def test_a_trial_interrupted_on_disk_goes_on_bit_equal_and_its_checkpoints_do_not_grow(tmp_path, start):
    policy = CheckpointPolicy(every_s=None, every_steps=50, keep_last=1)
    whole, killed, resumed = (start("algd", [({}, 0), ({}, 1)]) for _ in range(3))
    sizes = set()
    for event in Training("train", whole, 200, [0, 1], tmp_path / "whole", policy=policy, burst_steps=10):
        if event.kind == "checkpoint":
            newest = max((tmp_path / "whole").glob("step-*"))
            sizes.add((newest / "tensors.safetensors").stat().st_size // 4096)
    assert len(sizes) == 1
    for event in Training("train", killed, 200, [0, 1], tmp_path / "killed", policy=policy, burst_steps=10):
        if event.step >= 120:
            break
    again = Training("train", resumed, 200, [0, 1], tmp_path / "killed", policy=policy, burst_steps=10)
    assert resumed.step == 100
    list(again)
    assert_equal(whole.state(), resumed.state())


def test_fewer_lanes_at_once_give_the_same(start):
    pairs = [({}, 0), ({}, 1), ({}, 2)]
    together = start("algd", pairs)
    lanes = together.lanes
    stage, source = SYSTEMS["algd"].stages[-1], open_environment("detour-v0")
    grouped = LaneGroups(lambda some: stage.start(some, source, "cpu"), lanes, 2)
    for learner in (together, grouped):
        learner.advance(10)
    resumed = LaneGroups(lambda some: stage.start(some, source, "cpu"), lanes, 2)
    resumed.load_state(grouped.state())
    for learner in (together, grouped, resumed):
        learner.advance(10)
    for mine, one, other in zip(grouped.outputs(), together.outputs(), resumed.outputs(), strict=True):
        assert_equal(mine, one)
        assert_equal(mine, other)


def test_a_warmup_resumes_bit_equal_and_is_shared_by_all_methods():
    source = open_environment("detour-v0")
    stage = SYSTEMS["algd"].stages[0]
    lanes = [Lane(parse(stage.config_type, {"steps": 150}), 3)]
    one, other = stage.start(lanes, source, "cpu"), stage.start(lanes, source, "cpu")
    one.advance(77)
    other.load_state(one.state())
    one.advance(73)
    other.advance(73)
    assert torch.equal(one.outputs()[0].tensors["rows"], other.outputs()[0].tensors["rows"])
    keys = {
        str(system.stages[0].identity(lanes[0].config, {}, source.fingerprint, 3))
        for system in SYSTEMS.values()
    }
    assert len(keys) == 1


@EACH
@pytest.mark.parametrize(
    "wrong",
    [
        {"cost_limit": 0},
        {"cost_limit": -1.0},
        {"cost_critics": 0},
        {"hidden": []},
        {"updates_per_step": 0},
        {"discount": 1.0},
        {"dual": "guess"},
        {"replay_capacity": 0},
    ],
    ids=lambda wrong: "-".join(f"{k}={v}" for k, v in wrong.items()),
)
def test_wrong_settings_are_refused_by_their_key(system, wrong):
    with pytest.raises(UserError, match=f"train.{next(iter(wrong))}"):
        parse(SYSTEMS[system].stages[-1].config_type, SMALL | wrong, "train")


@pytest.mark.parametrize(
    "wrong", ["denoising_steps", "score_samples", "cost_critics", "rho", "beta", "sigma_max", "best_of"]
)
def test_zero_of_what_must_be_some_is_refused(wrong):
    with pytest.raises(UserError, match=f"train.{wrong}"):
        parse(SYSTEMS["algd"].stages[-1].config_type, {wrong: 0}, "train")
