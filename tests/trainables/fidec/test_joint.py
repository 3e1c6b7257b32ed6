"""Everything in one update, with the public code's settings, held against formulas written out in NumPy."""

import dataclasses

import numpy as np
import pytest
import torch
from flowsweep.trainables.base import Lane
from flowsweep.trainables.fidec import JOINT_SYSTEM
from flowsweep.trainables.fidec.joint import joint_losses
from flowsweep.trainables.streams import Streams

STAGE = JOINT_SYSTEM.stage("joint")
SIZES = {"hidden": (16, 16), "batch_size": 32, "steps": 20}


@pytest.fixture
def official(dataset):
    """The official preset in small, with parameters moved away from where they start."""
    masks = (np.arange(len(dataset.masks)) % 3 > 0).astype(np.float32)
    config = JOINT_SYSTEM.presets["official"]()["joint"].model_copy(update=SIZES)
    learner = STAGE.start([Lane(config, 0)], dataclasses.replace(dataset, masks=masks), "cpu")
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for params in (*learner.modules.values(), learner.targets):
            for value in params.values():
                value += 0.2 * torch.randn(value.shape, generator=draw)
    return learner


def losses_of(learner, draws):
    return joint_losses(learner.modules, learner.targets, *learner._batches(draws), learner.method)


class Written:
    """The published formulas in float64, on a learner's weights, data and noise; one lane."""

    flow_steps, time, width, samples, damping = 10, 0.9, 0.05, 8, 1e-3
    radius, discount = 1e-3, 0.99

    def __init__(self, learner):
        self.weights = {
            **{module: self.plain(params) for module, params in learner.modules.items()},
            "target": self.plain(learner.targets),
        }
        self.data = learner.source

    @staticmethod
    def plain(params):
        return {name: value[0].detach().double().numpy() for name, value in params.items()}

    @staticmethod
    def layers(weights, x, member=None, norm=False):
        of = lambda name: weights[name] if member is None else weights[name][member]  # noqa: E731
        for layer in range(2):
            x = x @ of(f"{layer}.weight") + of(f"{layer}.bias")
            x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
            if norm:
                x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
                x = x * of(f"{layer}.scale") + of(f"{layer}.shift")
        return x @ of("2.weight") + of("2.bias")

    def v(self, s, x, t):
        return self.layers(self.weights["flow"], np.concatenate([s, x, t], -1))

    def f(self, s, mu):
        return self.layers(self.weights["residual"], np.concatenate([s, mu], -1))

    def q(self, which, s, a):
        joined = np.concatenate([s, a], -1)
        return np.stack([self.layers(self.weights[which], joined, j, norm=True)[..., 0] for j in (0, 1)])

    def sample(self, s, z):
        x = z
        for i in range(self.flow_steps):
            x = x + self.v(s, x, np.full((*x.shape[:-1], 1), i / self.flow_steps)) / self.flow_steps
        return np.clip(x, -1, 1)

    def fisher(self, s, start, carry, uniform):
        s = np.repeat(s[:, None], self.samples, 1)
        t = self.time - self.width + self.width * uniform
        x = (1 - t) * carry + t * self.sample(s, start)
        score = self.v(s, x, t) / (1 - t)
        matrix = np.mean([np.einsum("bi,bj->bij", score[:, k], score[:, k]) for k in range(self.samples)], 0)
        size = matrix.shape[-1]
        matrix = matrix + self.damping * np.eye(size)
        return matrix / (np.trace(matrix, axis1=1, axis2=2) / size)[:, None, None]

    def losses(self, draws):
        n = lambda value: value[0].double().numpy()  # noqa: E731
        d, index = self.data, draws.index[0].numpy()
        rows = d.rows[index]
        s, following, a = (
            np.float64(part) for part in (d.states[rows], d.states[rows + 1], d.actions[index])
        )
        x0, t = n(draws.noise), n(draws.times)
        flow = np.mean((self.v(s, (1 - t) * x0 + t * a, t) - (a - x0)) ** 2)

        mu = self.sample(s, n(draws.here.base))
        delta = self.f(s, mu)
        matrix = self.fisher(s, *map(n, draws.here.samples))
        penalty = np.mean(np.einsum("bi,bij,bj->b", delta, matrix, delta) / delta.shape[-1])

        next_mu = self.sample(following, n(draws.there.samples[0])[:, 0])
        next_action = np.clip(next_mu + self.f(following, next_mu), -1, 1)
        bootstrap = self.discount * d.masks[index] * self.q("target", following, next_action).mean(0)
        critic = np.mean((self.q("critic", s, a) - (d.rewards[index] + bootstrap)) ** 2)

        value = self.q("critic", s, np.clip(mu + delta, -1, 1)).mean(0)
        log_alpha = self.weights["dual"]["log_alpha"]
        residual = -value.mean() / np.abs(value).mean() + np.exp(log_alpha) * penalty
        dual = -log_alpha * (penalty - self.radius)
        return {"flow": flow, "critic": critic, "residual": residual, "dual": dual}, penalty


def test_every_loss_of_the_official_settings_equals_the_formulas_written_out(official):
    for _ in range(3):
        draws = official._draws()
        losses, metrics = losses_of(official, draws)
        expected, penalty = Written(official).losses(draws)
        assert losses.keys() == expected.keys()
        for name, value in losses.items():
            assert value.item() == pytest.approx(float(expected[name]), rel=1e-5), name
        assert metrics["penalty"].item() == pytest.approx(penalty, rel=1e-5)


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
