"""Pools on disk and in memory: never another flow's, never damaged ones, mapped rather than copied, and their trace."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from flowsweep.platform.store.stages import StageStore
from flowsweep.trainables.artifacts import TENSORS, read_snapshot, write_snapshot
from flowsweep.trainables.base import Lane, Snapshot
from flowsweep.trainables.config import parse
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.fidec import SYSTEM
from flowsweep.trainables.fidec.columns import Pools, dataset_trace, mean_trace
from flowsweep.trainables.fidec.fisher import Fisher, score_at
from flowsweep.trainables.fidec.joint_config import JointConfig
from flowsweep.trainables.fidec.pools import BLOCK
from flowsweep.trainables.request import TrialRequest
from flowsweep.trainables.source_ref import SourceRef
from flowsweep.trainables.streams import Streams
from flowsweep.trainables.walk import Walk

GEOMETRIES = [
    {},
    {"fisher_samples": 1},
    {"fisher_samples": 1, "fisher_draw": "own"},
    {"fisher_scope": "local"},
    {"fisher_scope": "identity"},
]


@pytest.fixture
def walk(umaze_dataset, small, tmp_path: Path):
    """Walk a trial through pools over the store of the test; what became of each stage."""

    def walk(trial: str, **pretrain) -> dict[str, tuple[str, str]]:
        configs = {
            "pretrain": small("pretrain", **pretrain).model_dump(mode="json"),
            "pools": small("pools").model_dump(mode="json"),
        }
        request = TrialRequest(
            trial=trial, system="fidec", source=SourceRef(kind="dataset", name=umaze_dataset),
            configs=configs, seeds=(0,), through="pools",
            episodes=1,
        )  # fmt: skip
        events = list(Walk(request, StageStore(tmp_path / "stages"), tmp_path / trial))
        return {e.stage: (e.kind, e.key) for e in events if e.kind in ("stage_computed", "stage_reused")}

    return walk


def test_damaged_pools_are_rebuilt_and_equal_those_that_were_there(walk, tmp_path):
    kind, key = walk("t0")["pools"]
    assert kind == "stage_computed"
    place = StageStore(tmp_path / "stages").path(key)
    before = {name: value.clone() for name, value in read_snapshot(place).tensors.items()}
    content = bytearray((place / TENSORS).read_bytes())
    content[-5] ^= 1  # one bit of one matrix
    (place / TENSORS).write_bytes(content)
    assert walk("t1") == {
        "pretrain": ("stage_reused", walk("t2")["pretrain"][1]),
        "pools": ("stage_computed", key),
    }
    after = read_snapshot(place).tensors
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_draw_of_its_own_reads_the_matrix_off_other_samples_than_the_base_actions(start, small):
    """With a single sample per state the matrix is g g^T: shared, g belongs to the base action; else to another."""
    scores = {}
    for drawn in ("shared", "own"):
        config = small("pools", base_actions=1, fisher_samples=1, fisher_draw=drawn)
        learner = start("pools", [(config, 0)])
        learner.advance(config.steps)
        noise = learner._noise(0, BLOCK)
        last = noise[0].shape[2] - 1
        states = learner.flow.normalized(learner.states[None, :BLOCK])
        read = learner.flow.sample(states, noise[0][:, : states.shape[1], last])
        base = learner.outputs()[0].tensors["base_actions"][:BLOCK, 0]
        assert torch.allclose(base, read[0], atol=1e-6) == (drawn == "shared")
        scores[drawn] = learner.outputs()[0].tensors["scores"]
    assert not torch.allclose(scores["shared"], scores["own"])


def test_pools_of_another_flow_are_never_used(walk):
    first, second = walk("t0"), walk("t1", learning_rate=1e-2)
    assert second["pretrain"][0] == second["pools"][0] == "stage_computed"
    assert first["pools"][1] != second["pools"][1]
    assert walk("t2")["pools"] == ("stage_reused", first["pools"][1])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mappings")
def test_opened_pools_are_the_file_s_own_pages(tmp_path):
    tensors = {"base_actions": torch.randn(50, 4, 2), "matrix": torch.randn(50, 2, 2)}
    meta = {"pools": {"fisher_scope": "state"}}
    write_snapshot(tmp_path / "pools", Snapshot(tensors, meta))
    stored = read_snapshot(tmp_path / "pools")
    pools = Pools([stored], "cpu")
    spans = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if str(tmp_path / "pools" / TENSORS) in line:
            low, high = line.split()[0].split("-")
            spans.append((int(low, 16), int(high, 16)))
    for table in pools._tables:
        for value in table.values():
            assert any(low <= value.data_ptr() < high for low, high in spans)
    rows = torch.tensor([[0, 49]])
    assert torch.equal(pools.fisher(rows, rows * 0).matrix[0], tensors["matrix"][[0, 49]])


@pytest.mark.parametrize("changes", GEOMETRIES)
def test_the_stored_trace_is_the_mean_over_the_states_that_transitions_start_from(
    changes, start, small, make_dataset
):
    source = make_dataset(episodes=3, length=BLOCK)
    config = small("pools", **changes)
    learner = start("pools", [(config, 0), (config, 1)], source)
    learner.advance(config.steps)
    for stored in learner.outputs():
        tensors = stored.tensors
        if "matrix" in tensors:
            traces = np.trace(tensors["matrix"].numpy(), axis1=1, axis2=2)
        elif "scores" in tensors:
            traces = np.square(tensors["scores"].numpy()).sum(-1).mean(-1)
        else:
            traces = np.full(len(source.states), 2.0)
        assert stored.meta["fisher_trace"] == pytest.approx(traces[source.rows].mean(), rel=1e-5)
        json.dumps(stored.meta)
        rows = torch.from_numpy(source.rows)
        older = Snapshot(tensors, {"pools": stored.meta["pools"]})
        assert dataset_trace(older, rows) == dataset_trace(stored, rows) == mean_trace(tensors, rows)


def test_every_lane_is_measured_against_its_own_flow(start, small):
    learner = start("refine", [(small("refine", normalization="dataset_trace"), seed) for seed in (0, 1)])
    stored = [lane.upstream["pools"].meta["fisher_trace"] for lane in learner.lanes]
    assert stored[0] != stored[1]
    assert learner.refinement.metric.dataset_trace.tolist() == pytest.approx(stored)


@pytest.mark.parametrize(("base_actions", "samples"), itertools.product([1, 2, 4, 8], repeat=2))
def test_every_base_action_is_charged_by_the_score_read_at_it(base_actions, samples, start, small):
    """Held against the score computed anew at each base action, for every number of both, in both orders."""
    config = small(
        "pools", fisher_scope="local", base_actions=base_actions, fisher_samples=samples, fisher_point="clean",
        fisher_time_width=0.0,
    )  # fmt: skip
    learner = start("pools", [(config, 0)])
    learner.advance(config.steps)
    pools, states = Pools(learner.outputs(), "cpu"), learner.states
    rows = torch.arange(len(states)).repeat_interleave(base_actions)[None]
    choice = torch.arange(base_actions).repeat(len(states))[None]
    actions = pools.base_actions(rows, choice)
    own = score_at(
        learner.flow.velocity, learner.flow.normalized(states[rows]), actions,
        torch.full((*rows.shape, 1), config.fisher_time), "gaussian",
    )  # fmt: skip
    torch.testing.assert_close(pools.fisher(rows, choice).scores[:, :, 0], own, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("base_actions", "kept"), itertools.combinations_with_replacement([1, 2, 4, 8], 2))
def test_pools_of_any_width_give_each_row_its_own_score(base_actions, kept):
    """Pools of earlier versions keep as many scores as Fisher samples where those are more."""
    scores = torch.arange(5 * kept).view(5, kept, 1).float()
    stored = Snapshot(
        {"base_actions": torch.zeros(5, base_actions, 1), "scores": scores},
        {"pools": {"fisher_scope": "local"}},
    )
    rows = torch.arange(5).repeat_interleave(base_actions)[None]
    choice = torch.arange(base_actions).repeat(5)[None]
    found = Pools([stored], "cpu").fisher(rows, choice).scores[0, :, 0, 0]
    assert found.tolist() == [row * kept + action for row in range(5) for action in range(base_actions)]


@pytest.mark.parametrize("scope", ["local", "identity"])
def test_what_pools_do_not_read_changes_neither_their_content_nor_their_key(scope, start, small):
    config = small("pools", fisher_scope=scope, base_actions=2)
    other = {"fisher_samples": 9, "score_estimator": "velocity", "fisher_point": "clean", "fisher_time": 0.5,
             "fisher_time_width": 0.1, "clip_for_fisher": True, "fisher_draw": "own"}  # fmt: skip
    amended = config.model_copy(update={name: other[name] for name in config.unread()})
    assert amended != config
    stored = []
    for chosen in (config, amended):
        learner = start("pools", [(chosen, 0)])
        learner.advance(chosen.steps)
        stored.append(learner.outputs()[0].tensors)
    assert stored[0].keys() == stored[1].keys()
    assert all(torch.equal(stored[0][name], stored[1][name]) for name in stored[0])
    stage = SYSTEM.stage("pools")
    assert stage.identity(config, {}, "d", 0) == stage.identity(amended, {}, "d", 0)
    read = small("pools", fisher_scope=scope, base_actions=3)
    assert stage.identity(config, {}, "d", 0) != stage.identity(read, {}, "d", 0)


@pytest.mark.parametrize("changes", GEOMETRIES)
@pytest.mark.parametrize("base_actions", ["pool", "fresh"])
def test_refinement_reads_the_trace_of_the_dataset_and_acts_by_it_when_rebuilt(
    changes, base_actions, start, small
):
    config = small(
        "refine", base_actions=base_actions, normalization="dataset_trace", constraint="per_state_projection",
        residual_learning_rate=0.01,
    )  # fmt: skip
    learner = start("refine", [(config, 0)], pools=small("pools", **changes))
    assert learner.advance(10)["penalty_over_radius"][0] <= 1 + 1e-5
    finished = SYSTEM.stage("refine").finished([Lane(config, 0)], learner.outputs(), learner.source, "cpu")
    observations = torch.randn(1, 20, 3)
    acted = [
        which.policy().act(observations, Streams([9], "act").generators) for which in (learner, finished)
    ]
    assert torch.equal(*acted)


def test_where_the_flow_is_trained_along_the_trace_of_the_dataset_is_refused_with_the_way_out():
    with pytest.raises(UserError) as refused:
        parse(JointConfig, {"normalization": "dataset_trace"}, "stages.joint")
    for part in (
        "stages.joint.normalization",
        "frozen flow",
        "`per_state_trace` or `none`",
        "got 'dataset_trace'",
    ):
        assert part in str(refused.value)


@pytest.mark.parametrize("normalization", ["per_state_trace", "dataset_trace"])
def test_every_state_of_an_isotropic_dataset_pays_its_mean_square_displacement(normalization, start, small):
    learner = start(
        "refine", [(small("refine", normalization=normalization, zero_init=False), 0)],
        pools=small("pools", fisher_scope="identity"),
    )  # fmt: skip
    batch = learner._batch()
    delta = learner.refinement.displacement(learner.params["residual"], batch.states, batch.base)
    penalty = learner.refinement.metric.penalty(Fisher(), delta)
    torch.testing.assert_close(penalty, delta.square().mean(-1))


@pytest.mark.parametrize("normalization", ["per_state_trace", "dataset_trace", "none"])
def test_a_single_action_entry_is_charged_as_the_formula_says(normalization, start, small, make_dataset):
    source = make_dataset(actions=1)
    config = small("refine", normalization=normalization, zero_init=False, damping_value=0.0)
    learner = start("refine", [(config, 0)], source)
    batch = learner._batch()
    delta = learner.refinement.displacement(learner.params["residual"], batch.states, batch.base)
    size = batch.fisher.matrix[..., 0, 0]
    factor = {
        "per_state_trace": torch.ones_like(size),
        "dataset_trace": size / learner.lanes[0].upstream["pools"].meta["fisher_trace"],
        "none": 0.5 * size,
    }[normalization]
    penalty = learner.refinement.metric.penalty(batch.fisher, delta)
    torch.testing.assert_close(penalty, factor * delta[..., 0].square())
    metrics = learner.advance(3)
    assert metrics["eigenvalue_spread"] == [pytest.approx(1.0)]


def test_constant_rewards_give_constant_values_and_a_radius_that_still_holds(start, small, dataset):
    flat = dataclasses.replace(dataset, rewards=np.ones_like(dataset.rewards))
    config = small("refine", critic_learning_rate=1e-2, discount=0.5, target_rate=0.1, kl_radius=0.01)
    learner = start("refine", [(config, 0)], flat)
    learner.advance(150)
    metrics = learner.advance(50)
    assert metrics["q_mean"][0] == pytest.approx(2.0, abs=0.2)  # 1 / (1 - discount)
    assert metrics["q_mean"][0] <= metrics["q_max"][0] < 2.5
    assert metrics["penalty_over_radius"][0] < 1.5
