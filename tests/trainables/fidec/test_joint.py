"""Everything in one update, as in the public code. That its losses are the published ones: test_parity."""

import numpy as np
import pytest
import torch
from flowsweep.trainables.base import Lane
from flowsweep.trainables.fidec import JOINT_SYSTEM
from flowsweep.trainables.fidec.joint import joint_losses
from flowsweep.trainables.streams import Streams

STAGE = JOINT_SYSTEM.stage("joint")
SIZES = {"hidden": (16, 16), "batch_size": 32, "steps": 20}


def losses_of(learner, draws):
    return joint_losses(learner.modules, learner.targets, *learner._batches(draws), learner.method)


def test_each_term_of_the_sum_trains_the_network_it_is_named_after_and_no_other(official):
    losses, _ = losses_of(official, official._draws())
    parameters = {(m, n): p for m, params in official.modules.items() for n, p in params.items()}
    for name, loss in losses.items():
        gradients = torch.autograd.grad(
            loss.sum(), list(parameters.values()), allow_unused=True, retain_graph=True
        )
        reached = {
            module
            for (module, _), gradient in zip(parameters, gradients, strict=True)
            if gradient is not None and gradient.any()
        }
        assert reached == {name}


def test_base_actions_and_fisher_matrices_are_read_off_the_flow_without_its_gradient(official):
    _, batch = official._batches(official._draws())
    assert official.flow.params is official.modules["flow"]
    matrix = batch.fisher.matrix if batch.fisher.scores is None else batch.fisher.scores
    assert not any(value.requires_grad for value in (batch.base, batch.next_base, matrix))


def test_the_target_critics_follow_the_critics_as_they_were_before_the_step(dataset):
    config = JOINT_SYSTEM.presets["official"]()["joint"]
    assert config.target_rate == 0.005
    learner = STAGE.start([Lane(config.model_copy(update={**SIZES, "target_rate": 1.0}), 0)], dataset, "cpu")
    for _ in range(2):
        before = {name: value.detach().clone() for name, value in learner.modules["critic"].items()}
        learner.advance(1)
        for name, value in learner.targets.items():
            assert torch.equal(value, before[name])
            assert not torch.equal(value, learner.modules["critic"][name])


@pytest.mark.parametrize(("kind", "norms"), [("global", 1), ("module", 4)])
def test_the_gradient_is_clipped_over_all_networks_together_unless_asked_otherwise(kind, norms, dataset):
    config = JOINT_SYSTEM.presets["official"]()["joint"]
    assert (config.gradient_clip, config.gradient_norm) == ("global", 5.0)
    config = config.model_copy(update={**SIZES, "gradient_clip": kind, "gradient_norm": 1e-3})
    learner = STAGE.start([Lane(config, 0)], dataset, "cpu")
    learner.advance(1)
    # Adam's first moments after one step are a tenth of the gradient it was given.
    squares = [(value / 0.1).square().sum() for value in learner.optimizer.first.values()]
    assert torch.stack(squares).sum().sqrt().item() == pytest.approx(1e-3 * norms**0.5, rel=1e-4)


def test_one_adam_moves_every_network_by_the_same_step_and_the_multiplier_without_bound(dataset):
    config = JOINT_SYSTEM.presets["official"]()["joint"].model_copy(update=SIZES)
    learner = STAGE.start([Lane(config, 0)], dataset, "cpu")
    before = {name: value.detach().clone() for name, value in learner.params.items()}
    assert before["dual.log_alpha"].item() == pytest.approx(np.log(10))
    learner.advance(1)
    for module in learner.modules:
        moved = [
            (value - before[name]).abs().max().item()
            for name, value in learner.params.items()
            if name.startswith(module)
        ]
        assert max(moved) == pytest.approx(3e-4, rel=1e-2)
    assert (learner.params["dual.log_alpha"] - before["dual.log_alpha"]).item() == pytest.approx(
        3e-4, rel=1e-2
    )
    with torch.no_grad():
        learner.params["dual.log_alpha"].fill_(60.0)
    learner.advance(1)
    assert learner.params["dual.log_alpha"].item() > 59.9


def test_the_residual_starts_glorot_uniform_and_observations_stay_raw(dataset):
    config = JOINT_SYSTEM.presets["official"]()["joint"].model_copy(update=SIZES)
    learner = STAGE.start([Lane(config, 0)], dataset, "cpu")
    bound = np.sqrt(6 / (16 + 2))
    assert 0.8 * bound < learner.params["residual.2.weight"].abs().max() <= bound
    observations = torch.randn(1, 5, 3)
    assert torch.equal(learner.flow.normalized(observations), observations)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"constraint": "fixed_alpha"},
        {"constraint": "per_state_projection"},
        {"fisher_scope": "local"},
        {"fisher_scope": "identity"},
        {"gelu": "exact", "affine_norm": False},
        {"test_policy": "best_of_n", "test_samples": 3},
    ],
)
def test_outputs_alone_rebuild_a_policy_that_acts_the_same(changes, start, small):
    learner = start("joint", [(small("joint", **changes), 0), (small("joint", **changes), 1)])
    metrics = learner.advance(3)
    assert min(metrics["residual_rms"]) > 0
    assert metrics.keys() <= STAGE.metrics.keys()
    finished = STAGE.finished(learner.lanes, learner.outputs(), learner.source, "cpu")
    observations = torch.randn(2, 7, 3)
    first, second = (
        which.policy().act(observations, Streams([4, 5], "act").generators) for which in (learner, finished)
    )
    assert torch.equal(first, second)
    assert first.abs().max() <= 1


def test_an_update_with_more_samples_is_estimated_to_cost_more(dataset):
    def core_s(**changes):
        config = JOINT_SYSTEM.presets["official"]()["joint"].model_copy(update=changes)
        return STAGE.cost({"joint": config}, dataset).core_s

    assert core_s(fisher_samples=4) < core_s() < core_s(fisher_samples=16)
    assert core_s(fisher_scope="identity") < core_s(fisher_scope="local") < core_s(fisher_samples=1)
