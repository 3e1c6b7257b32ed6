"""Presets named after a source: their losses against the formulas of that source, written out in NumPy."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from flowsweep.trainables.base import Lane
from flowsweep.trainables.fidec import SYSTEM
from flowsweep.trainables.fidec.joint import joint_losses
from flowsweep.trainables.fidec.losses import dual_loss, residual_loss
from flowsweep.trainables.fidec.refine import fisher_settings
from flowsweep.trainables.fidec.sampling import FreshNoise
from scipy.special import erf

SIZES = {"hidden": (16, 16), "batch_size": 32, "steps": 20}


@dataclass(frozen=True)
class Source:
    """What a source prescribes, in its own numbers; ours are not read."""

    joint: bool = False  # tanh GELU and an affine layer normalisation are those of the public code
    estimator: str = "velocity"
    local_at_the_clean_action: bool = False
    time: float = 0.9
    width: float = 0.05
    samples: int = 8
    damping: float = 1e-3
    radius: float = 1e-3
    discount: float = 0.99
    flow_steps: int = 10


PUBLIC_CODE = Source(joint=True)
OFFICIAL = Source()
PAPER = Source(estimator="gaussian", local_at_the_clean_action=True, time=0.8, width=0.0)


def plain(params):
    return {name: value[0].detach().double().numpy() for name, value in params.items()}


class Written:
    """The published formulas in float64, on given weights, data and noise; one lane."""

    def __init__(self, source: Source, modules, targets, data):
        self.says, self.data = source, data
        self.weights = {**{name: plain(params) for name, params in modules.items()}, "target": plain(targets)}

    def layers(self, weights, x, member=None, norm=False):
        of = lambda name: weights[name] if member is None else weights[name][member]  # noqa: E731
        for layer in range(2):
            x = x @ of(f"{layer}.weight") + of(f"{layer}.bias")
            if self.says.joint:
                x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
            else:
                x = 0.5 * x * (1 + erf(x / np.sqrt(2)))
            if norm:
                x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
                x = x * of(f"{layer}.scale") + of(f"{layer}.shift") if self.says.joint else x
        return x @ of("2.weight") + of("2.bias")

    def v(self, s, x, t):
        return self.layers(self.weights["flow"], np.concatenate([s, x, t], -1))

    def f(self, s, mu):
        return self.layers(self.weights["residual"], np.concatenate([s, mu], -1))

    def q(self, which, s, a):
        joined = np.concatenate([s, a], -1)
        return np.stack([self.layers(self.weights[which], joined, j, norm=True)[..., 0] for j in (0, 1)])

    def unclipped(self, s, z):
        x, steps = z, self.says.flow_steps
        for i in range(steps):
            x = x + self.v(s, x, np.full((*x.shape[:-1], 1), i / steps)) / steps
        return x

    def sample(self, s, z):
        return np.clip(self.unclipped(s, z), -1, 1)

    def score(self, s, x, t):
        v = self.v(s, x, t)
        return (v if self.says.estimator == "velocity" else t * v - x) / (1 - t)

    def base_and_fisher(self, s, here):
        """A base action and the normalised Fisher matrix of every state."""
        start, carry, uniform = (n(part) for part in here.samples)
        says, size = self.says, start.shape[-1]
        t = says.time - says.width + says.width * uniform
        if says.local_at_the_clean_action:
            action = self.unclipped(s, start[:, 0])
            score = self.score(s, action, t[:, 0])
            matrix, base = np.einsum("bi,bj->bij", score, score), np.clip(action, -1, 1)
        else:
            base, repeated = self.sample(s, n(here.base)), np.repeat(s[:, None], says.samples, 1)
            score = self.score(repeated, (1 - t) * carry + t * self.sample(repeated, start), t)
            outer = [np.einsum("bi,bj->bij", score[:, k], score[:, k]) for k in range(says.samples)]
            matrix = np.mean(outer, 0)
        matrix = matrix + says.damping * np.eye(size)
        return base, matrix / (np.trace(matrix, axis1=1, axis2=2) / size)[:, None, None]

    def refinement(self, index, here, there):
        """Losses of critics, residual and dual, and the penalty."""
        d, rows = self.data, self.data.rows[index]
        s, following, a = (np.float64(x) for x in (d.states[rows], d.states[rows + 1], d.actions[index]))
        mu, matrix = self.base_and_fisher(s, here)
        delta = self.f(s, mu)
        penalty = np.mean(np.einsum("bi,bij,bj->b", delta, matrix, delta) / delta.shape[-1])

        next_mu = self.sample(following, n(there.samples[0])[:, 0])
        next_action = np.clip(next_mu + self.f(following, next_mu), -1, 1)
        bootstrap = self.says.discount * d.masks[index] * self.q("target", following, next_action).mean(0)
        critic = np.mean((self.q("critic", s, a) - (d.rewards[index] + bootstrap)) ** 2)

        value = self.q("critic", s, np.clip(mu + delta, -1, 1)).mean(0)
        log_alpha = self.weights["dual"]["log_alpha"]
        residual = -value.mean() / np.abs(value).mean() + np.exp(log_alpha) * penalty
        dual = -log_alpha * (penalty - self.says.radius)
        return {"critic": critic, "residual": residual, "dual": dual}, penalty

    def flow_matching(self, index, noise, times):
        d, rows = self.data, self.data.rows[index]
        s, a, x0, t = np.float64(d.states[rows]), np.float64(d.actions[index]), n(noise), n(times)
        return np.mean((self.v(s, (1 - t) * x0 + t * a, t) - (a - x0)) ** 2)


def n(value):
    return value[0].double().numpy()


def test_every_loss_of_the_joint_official_preset_is_that_of_the_public_code(official):
    for _ in range(3):
        draws = official._draws()
        losses, metrics = joint_losses(
            official.modules, official.targets, *official._batches(draws), official.method
        )
        written = Written(PUBLIC_CODE, official.modules, official.targets, official.source)
        index = draws.index[0].numpy()
        expected, penalty = written.refinement(index, draws.here, draws.there)
        expected["flow"] = written.flow_matching(index, draws.noise, draws.times)
        assert losses.keys() == expected.keys()
        for name, value in losses.items():
            assert value.item() == pytest.approx(float(expected[name]), rel=1e-5), name
        assert metrics["penalty"].item() == pytest.approx(penalty, rel=1e-5)


@pytest.fixture
def staged(dataset):
    """A staged preset in small over a flow moved away from where it starts, about to refine."""

    def staged(preset: str):
        masks = (np.arange(len(dataset.masks)) % 3 > 0).astype(np.float32)
        source, upstream = dataclasses.replace(dataset, masks=masks), {}
        draw = torch.Generator().manual_seed(0)
        for stage in SYSTEM.stages:
            config = SYSTEM.presets[preset]()[stage.name]
            known = {name: value for name, value in SIZES.items() if name in type(config).model_fields}
            learner = stage.start([Lane(config.model_copy(update=known), 0, dict(upstream))], source, "cpu")
            networks = {"pretrain": [getattr(learner, "params", {})], "pools": []}.get(stage.name)
            if networks is None:
                networks = [learner.params["critic"], learner.params["residual"], learner.targets["critic"]]
            with torch.no_grad():
                for value in (value for params in networks for value in params.values()):
                    value += 0.2 * torch.randn(value.shape, generator=draw)
            if stage.name == "pools":
                learner.advance(learner.config.steps)
            upstream[stage.name] = learner.outputs()[0]
        return learner

    return staged


def draws_of_the_next_update(learner):
    """The numbers the learner is about to draw: batch, noise at its states, noise at the next states."""
    before = learner.streams.state()
    size, settings = learner.config.batch_size, learner.fisher
    index = learner.streams.integers(len(learner.columns), size)[0].numpy()
    here = FreshNoise.draw(learner.streams, size, learner.flow.action_dim, settings)
    alone = fisher_settings({**learner.pools_config, "fisher_scope": "identity"})
    there = FreshNoise.draw(learner.streams, size, learner.flow.action_dim, alone)
    learner.streams.load_state(before)
    return index, here, there


@pytest.mark.parametrize(("preset", "source"), [("official", OFFICIAL), ("paper", PAPER)])
def test_the_staged_presets_refine_by_the_losses_of_their_source(preset, source, staged):
    learner = staged(preset)
    modules = {**learner.params, "flow": learner.flow.params}
    for _ in range(3):
        draws = draws_of_the_next_update(learner)
        expected, penalty = Written(source, modules, learner.targets["critic"], learner.source).refinement(
            *draws
        )
        before, batch = learner.streams.state(), learner._batch()
        learner.streams.load_state(before)
        log_alpha = learner.params["dual"]["log_alpha"]
        climb, _ = residual_loss(
            learner.params["residual"], learner.params["critic"], log_alpha.exp(), batch, learner.critic,
            learner.refinement, learner.config.normalize_q,
        )  # fmt: skip
        dual = dual_loss(log_alpha, torch.tensor([penalty]), learner.refinement.radius)
        assert climb.item() == pytest.approx(float(expected["residual"]), rel=1e-5)
        assert dual.item() == pytest.approx(float(expected["dual"]), rel=1e-5)
        metrics = learner.update()  # reports the losses at the parameters before its step
        assert metrics["critic_loss"].item() == pytest.approx(expected["critic"], rel=1e-5)
        assert metrics["penalty"].item() == pytest.approx(penalty, rel=1e-5)
