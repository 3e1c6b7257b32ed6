import dataclasses
import math

import numpy as np
import pytest
import torch
from flowsweep.trainables.fidec.fisher import Fisher, Metric
from flowsweep.trainables.fidec.losses import (
    FlowBatch,
    Policy,
    RefineBatch,
    dual_loss,
    flow_matching_loss,
    residual_loss,
    td_loss,
)
from flowsweep.trainables.nets import MLP, trainable
from flowsweep.trainables.streams import Streams

B, O, A = 6, 3, 2  # noqa: E741
ACTOR, CRITIC = MLP(O + A, A, (8,)), MLP(O + A, 1, (8,), layer_norm=True, members=2)
DISCOUNT, RADIUS = torch.tensor([0.9]), torch.tensor([0.004])


def policy(**changes) -> Policy:
    settings = {
        "network": ACTOR,
        "scale": torch.tensor([0.5]),
        "form": "linear",
        "radius": RADIUS,
        "metric": Metric("relative", torch.tensor([0.01]), "per_state_trace"),
        "project": False,
    }
    return Policy(**{**settings, **changes})


def params(network: MLP, purpose: str):
    return trainable(network.init(Streams([0], purpose).generators), "cpu")


@pytest.fixture
def parts():
    draw = torch.Generator().manual_seed(0)
    normal = lambda *size: torch.randn(1, B, *size, generator=draw)  # noqa: E731
    fisher, next_fisher = (Fisher(scores=normal(4, A).requires_grad_()) for _ in range(2))
    batch = RefineBatch(
        states=normal(O),
        actions=normal(A).clamp(-1, 1),
        rewards=normal(),
        masks=torch.tensor([[1.0, 1, 0, 1, 1, 0]]),
        next_states=normal(O),
        base=normal(A).clamp(-1, 1).requires_grad_(),
        next_base=normal(A).clamp(-1, 1).requires_grad_(),
        fisher=fisher,
        next_fisher=next_fisher,
    )
    networks = {
        "critic": params(CRITIC, "critic"),
        "target": params(CRITIC, "target"),
        "residual": params(ACTOR, "residual"),
        "alpha": {"log": torch.tensor([1.5]).requires_grad_()},
    }
    return batch, networks


def trained_by(loss: torch.Tensor, networks) -> set[str]:
    """Names of the networks that receive any gradient."""
    names = [(name, value) for name, values in networks.items() for value in values.values()]
    gradients = torch.autograd.grad(loss.sum(), [value for _, value in names], allow_unused=True)
    return {
        name
        for (name, _), gradient in zip(names, gradients, strict=True)
        if gradient is not None and gradient.any()
    }


class TestEachTermTrainsExactlyOneNetwork:
    @pytest.mark.parametrize("project", [False, True])
    def test_the_td_loss_trains_the_critics(self, parts, project):
        batch, n = parts
        loss, _ = td_loss(
            n["critic"], n["target"], n["residual"], batch, CRITIC, policy(project=project), DISCOUNT, "min"
        )
        assert trained_by(loss, n) == {"critic"}

    @pytest.mark.parametrize("project", [False, True])
    def test_the_residual_loss_trains_the_residual(self, parts, project):
        batch, n = parts
        loss, _ = residual_loss(
            n["residual"], n["critic"], n["alpha"]["log"].exp(), batch, CRITIC, policy(project=project), True
        )
        assert trained_by(loss, n) == {"residual"}

    def test_the_dual_loss_trains_the_multiplier(self, parts):
        batch, n = parts
        _, metrics = residual_loss(n["residual"], n["critic"], torch.ones(1), batch, CRITIC, policy(), True)
        assert trained_by(dual_loss(n["alpha"]["log"], metrics["penalty"], RADIUS), n) == {"alpha"}

    def test_flow_matching_trains_the_velocity(self):
        network = MLP(O + A + 1, A, (8,))
        flow = params(network, "flow")
        batch = FlowBatch(
            torch.randn(1, B, O), torch.randn(1, B, A), torch.randn(1, B, A), torch.rand(1, B, 1)
        )
        loss, _ = flow_matching_loss(flow, batch, network)
        assert trained_by(loss, {"flow": flow, "other": {"x": torch.zeros(1, requires_grad=True)}}) == {
            "flow"
        }


def forward(network: MLP, weights, inputs: np.ndarray, member=None) -> np.ndarray:
    """The network in plain NumPy, for one lane."""
    erf = np.vectorize(math.erf)
    x = inputs
    for layer in range(len(network.hidden) + 1):
        w, b = (weights[f"{layer}.{part}"][0].detach().numpy() for part in ("weight", "bias"))
        x = x @ (w if member is None else w[member]) + (b if member is None else b[member])
        if layer < len(network.hidden):
            x = 0.5 * x * (1 + erf(x / math.sqrt(2)))
            if network.layer_norm:
                x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x


def test_the_losses_equal_the_formulas_written_out_in_numpy(parts):
    batch, n = parts
    value = {
        name: getattr(batch, name)[0].detach().numpy().astype(np.float64)
        for name in ("states", "actions", "rewards", "masks", "next_states", "base", "next_base")
    }
    q = lambda weights, s, a: np.stack([forward(CRITIC, weights, np.hstack([s, a]), m)[:, 0] for m in (0, 1)])  # noqa: E731
    delta = lambda s, mu: 0.5 * forward(ACTOR, n["residual"], np.hstack([s, mu]))  # noqa: E731

    next_action = np.clip(value["next_base"] + delta(value["next_states"], value["next_base"]), -1, 1)
    target = value["rewards"] + 0.9 * value["masks"] * q(n["target"], value["next_states"], next_action).min(
        0
    )
    expected_td = np.square(q(n["critic"], value["states"], value["actions"]) - target).mean()

    d = delta(value["states"], value["base"])
    scores = batch.fisher.scores[0].detach().numpy()
    matrices = np.einsum("bka,bkc->bac", scores, scores) / 4
    matrices += 0.01 * np.trace(matrices, axis1=1, axis2=2)[:, None, None] / A * np.eye(A)
    matrices /= np.trace(matrices, axis1=1, axis2=2)[:, None, None] / A
    penalty = (np.einsum("ba,bac,bc->b", d, matrices, d) / A).mean()
    climb = q(n["critic"], value["states"], np.clip(value["base"] + d, -1, 1)).mean(0)
    expected_residual = -climb.mean() / np.abs(climb).mean() + 2.0 * penalty

    td, _ = td_loss(n["critic"], n["target"], n["residual"], batch, CRITIC, policy(), DISCOUNT, "min")
    loss, metrics = residual_loss(
        n["residual"], n["critic"], torch.tensor([2.0]), batch, CRITIC, policy(), True
    )
    assert td.item() == pytest.approx(expected_td, rel=1e-5)
    assert metrics["penalty"].item() == pytest.approx(penalty, rel=1e-5)
    assert loss.item() == pytest.approx(expected_residual, rel=1e-5)


def test_the_multiplier_rises_above_the_radius_and_falls_below():
    log_alpha = torch.zeros(2, requires_grad=True)
    loss = dual_loss(log_alpha, torch.tensor([0.02, 0.005]), torch.tensor([0.01, 0.01]))
    (gradient,) = torch.autograd.grad(loss.sum(), log_alpha)
    assert gradient[0] < 0 < gradient[1]


def test_nats_are_told_where_a_matrix_was_estimated_and_nowhere_else(parts):
    batch, n = parts
    for fisher, told in ((batch.fisher, True), (Fisher(), False)):
        some = dataclasses.replace(batch, fisher=fisher)
        _, metrics = residual_loss(n["residual"], n["critic"], torch.ones(1), some, CRITIC, policy(), True)
        assert ("kl_nats" in metrics) == told


def test_tanh_bounds_every_displacement_by_the_scale(parts):
    batch, n = parts
    large = {name: 100 * value for name, value in n["residual"].items()}
    assert policy(form="tanh").displacement(large, batch.states, batch.base).abs().max() <= 0.5
    assert policy().displacement(large, batch.states, batch.base).abs().max() > 0.5


def test_projection_puts_what_is_outside_on_the_radius_and_leaves_the_rest(parts):
    batch, n = parts
    p = policy(project=True)
    displacement = p.displacement(n["residual"], batch.states, batch.base) * 0.2
    displacement[:, 0] *= 1e-3
    penalty = p.metric.penalty(batch.fisher, displacement)
    projected = p.projected(displacement, penalty)
    after = p.metric.penalty(batch.fisher, projected)
    outside = penalty > RADIUS
    assert outside.any()
    assert not outside.all()
    torch.testing.assert_close(after[outside], RADIUS.expand(int(outside.sum())))
    assert torch.equal(projected[~outside], displacement[~outside])


def test_by_the_dataset_s_trace_projection_leaves_loose_states_more_room():
    both = Fisher(matrix=torch.stack([8 * torch.eye(A), 2 * torch.eye(A)]).unsqueeze(0))
    measured = Metric("relative", torch.tensor([0.01]), "dataset_trace", torch.tensor([5.0 * A]))
    p, far = policy(project=True, metric=measured), torch.ones(1, 2, A)
    after = p.projected(far, measured.penalty(both, far)).square().mean(-1)
    # mean squares radius * 5 / 8 and radius * 5 / 2
    torch.testing.assert_close(after, RADIUS * torch.tensor([[0.625, 2.5]]))


def test_a_zero_displacement_has_a_finite_gradient_under_projection(parts):
    batch, n = parts
    zero = trainable(ACTOR.init(Streams([0], "zero").generators, zero_output=True), "cpu")
    loss, _ = residual_loss(zero, n["critic"], torch.ones(1), batch, CRITIC, policy(project=True), True)
    gradients = torch.autograd.grad(loss.sum(), list(zero.values()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[-2].any()


def test_masked_transitions_are_not_bootstrapped(parts):
    batch, n = parts
    far = {name: value + 100 for name, value in n["target"].items()}
    masked = RefineBatch(**{**vars(batch), "masks": torch.zeros(1, B)})
    near_loss, _ = td_loss(
        n["critic"], n["target"], n["residual"], masked, CRITIC, policy(), DISCOUNT, "mean"
    )
    far_loss, _ = td_loss(n["critic"], far, n["residual"], masked, CRITIC, policy(), DISCOUNT, "mean")
    assert torch.equal(near_loss, far_loss)
