import numpy as np
import pytest
import torch
from flowsweep.trainables.baselines import fql, ifql, rebrac
from flowsweep.trainables.data.columns import Transitions
from flowsweep.trainables.nets import MLP, trainable
from flowsweep.trainables.streams import Streams

B, O, A = 6, 3, 2  # noqa: E741
CRITIC = MLP(O + A, 1, (8,), layer_norm=True, members=2)
ONE_STEP, ACTOR, VALUE = MLP(O + A, A, (8,)), MLP(O, A, (8,)), MLP(O, 1, (8,))
DISCOUNT, ONE = torch.tensor([0.9]), torch.ones(1)


def params(network: MLP, purpose: str):
    return trainable(network.init(Streams([0], purpose).generators), "cpu")


def draws(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, B, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def data() -> Transitions:
    masks = torch.tensor([[1.0, 1, 0, 1, 1, 0]])
    return Transitions(
        draws(O, seed=1), draws(A, seed=2).clamp(-1, 1), draws(seed=3), masks, draws(O, seed=4)
    )


@pytest.fixture
def networks():
    shapes = {
        "critic": CRITIC,
        "target": CRITIC,
        "policy": ONE_STEP,
        "actor": ACTOR,
        "slow": ACTOR,
        "value": VALUE,
    }
    return {name: params(network, name) for name, network in shapes.items()}


@pytest.fixture
def distill(data) -> fql.DistillBatch:
    return fql.DistillBatch(
        data, draws(A, seed=5), draws(A, seed=6), draws(A, seed=7).clamp(-1, 1).requires_grad_()
    )


@pytest.fixture
def continued(data) -> rebrac.ActorCriticBatch:
    follows = torch.tensor([[1.0, 1, 1, 0, 1, 1]])
    return rebrac.ActorCriticBatch(data, draws(A, seed=8).clamp(-1, 1), follows, torch.zeros(1, B, A))


def trained_by(loss: torch.Tensor, networks) -> set[str]:
    """Names of the networks that receive any gradient."""
    names = [(name, value) for name, values in networks.items() for value in values.values()]
    gradients = torch.autograd.grad(loss.sum(), [value for _, value in names], allow_unused=True)
    return {
        name
        for (name, _), gradient in zip(names, gradients, strict=True)
        if gradient is not None and gradient.any()
    }


def q(weights, states, actions) -> torch.Tensor:
    return CRITIC(weights, torch.cat([states, actions], -1)).squeeze(-1)


class TestEachTermTrainsExactlyOneNetwork:
    def test_of_fql(self, distill, networks):
        n, others = networks, {**networks, "flow": {"actions": distill.flow_actions}}
        td, _ = fql.td_loss(
            n["critic"], n["target"], n["policy"], distill, CRITIC, ONE_STEP, DISCOUNT, "mean"
        )
        climb, _ = fql.policy_loss(n["policy"], n["critic"], distill, CRITIC, ONE_STEP, ONE, True)
        assert trained_by(td, others) == {"critic"}
        assert trained_by(climb, others) == {"policy"}

    def test_of_ifql(self, data, networks):
        n = networks
        value, _ = ifql.value_loss(n["value"], n["target"], data, VALUE, CRITIC, torch.tensor([0.9]))
        td, _ = ifql.td_loss(n["critic"], n["value"], data, VALUE, CRITIC, DISCOUNT)
        assert trained_by(value, n) == {"value"}
        assert trained_by(td, n) == {"critic"}

    def test_of_rebrac(self, data, continued, networks):
        n = networks
        td, _ = rebrac.td_loss(n["critic"], n["target"], n["slow"], continued, CRITIC, ACTOR, DISCOUNT, ONE)
        climb, _ = rebrac.actor_loss(n["actor"], n["critic"], data, CRITIC, ACTOR, ONE, True)
        assert trained_by(td, n) == {"critic"}
        assert trained_by(climb, n) == {"actor"}


class TestExpectiles:
    @pytest.mark.parametrize("tau", [0.2, 0.5, 0.9])
    def test_of_two_values_are_known_in_closed_form(self, tau):
        # Of 0 and 10: tau (10 - m) = (1 - tau) m, so m = 10 tau.
        grid = torch.linspace(0, 10, 10_001, dtype=torch.float64)
        values = torch.tensor([0.0, 10.0], dtype=torch.float64)
        losses = ifql.expectile_loss(
            values - grid.unsqueeze(-1), torch.full((len(grid),), tau, dtype=torch.float64)
        ).mean(-1)
        assert grid[losses.argmin()].item() == pytest.approx(10 * tau, abs=1e-3)

    def test_half_is_the_mean_and_one_approaches_the_largest(self):
        values = torch.tensor([-1.0, 0.0, 0.5, 4.0], dtype=torch.float64)

        def minimiser(tau: float) -> float:
            m = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
            optimizer = torch.optim.LBFGS(
                [m], max_iter=100, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
            )

            def closure():
                optimizer.zero_grad()
                loss = ifql.expectile_loss(values - m, torch.tensor([tau], dtype=torch.float64)).mean()
                loss.backward()
                return loss

            optimizer.step(closure)
            return m.item()

        assert minimiser(0.5) == pytest.approx(values.mean().item(), abs=1e-6)
        assert minimiser(0.999) == pytest.approx(4.0, abs=0.05)
        assert minimiser(0.5) < minimiser(0.7) < minimiser(0.9) < 4.0

    def test_the_weights_are_tau_above_and_the_rest_below(self):
        loss = ifql.expectile_loss(torch.tensor([[2.0, -2.0], [2.0, -2.0]]), torch.tensor([0.9, 0.3]))
        torch.testing.assert_close(loss, torch.tensor([[3.6, 0.4], [1.2, 2.8]]))

    def test_the_value_regresses_on_the_smaller_target_critic(self, data, networks):
        loss, metrics = ifql.value_loss(
            networks["value"], networks["target"], data, VALUE, CRITIC, torch.tensor([0.8])
        )
        u = (
            q(networks["target"], data.states, data.actions).amin(1)
            - VALUE(networks["value"], data.states)[..., 0]
        )
        weights = np.where(u.detach().numpy() < 0, 0.2, 0.8)
        expected = (weights * u.detach().numpy() ** 2).mean()
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        assert metrics["advantage_positive"].item() == pytest.approx((u > 0).float().mean().item())


class TestDistillation:
    def test_is_zero_when_the_one_step_policy_is_the_flow(self, data, networks):
        noise = draws(A, seed=5)
        same = fql.one_step(ONE_STEP, networks["policy"], data.states, noise).detach()
        batch = fql.DistillBatch(data, noise, noise, same)
        loss, metrics = fql.policy_loss(
            networks["policy"], networks["critic"], batch, CRITIC, ONE_STEP, torch.tensor([1e6]), True
        )
        assert metrics["distillation_loss"].item() == 0
        values = q(networks["critic"], data.states, same.clamp(-1, 1)).mean(1)
        assert loss.item() == pytest.approx(-(values.mean() / values.abs().mean()).item(), rel=1e-5)

    def test_weighs_the_mean_square_distance_to_the_flows_sample_of_the_same_noise(self, distill, networks):
        args = (networks["policy"], networks["critic"], distill, CRITIC, ONE_STEP)
        light, metrics = fql.policy_loss(*args, torch.tensor([1.0]), False)
        heavy, _ = fql.policy_loss(*args, torch.tensor([3.0]), False)
        actions = fql.one_step(ONE_STEP, networks["policy"], distill.transitions.states, distill.noise)
        distance = (actions - distill.flow_actions).square().mean()
        assert metrics["distillation_loss"].item() == pytest.approx(distance.item(), rel=1e-6)
        assert (heavy - light).item() == pytest.approx(2 * distance.item(), rel=1e-5)

    def test_the_target_values_the_policys_own_clipped_next_action(self, distill, networks):
        data = distill.transitions
        wild = {name: 30 * value for name, value in networks["policy"].items()}
        loss, _ = fql.td_loss(
            networks["critic"], networks["target"], wild, distill, CRITIC, ONE_STEP, DISCOUNT, "min"
        )
        actions = fql.one_step(ONE_STEP, wild, data.next_states, distill.next_noise).clamp(-1, 1)
        assert (actions.abs() == 1).any()
        y = data.rewards + 0.9 * data.masks * q(networks["target"], data.next_states, actions).amin(1)
        expected = (q(networks["critic"], data.states, data.actions) - y.unsqueeze(1)).square().mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


class TestBehaviourPenalties:
    def test_the_distance_is_summed_over_action_entries(self):
        found = rebrac.behaviour_distance(torch.tensor([[[0.5, -0.5]]]), torch.tensor([[[0.1, 0.5]]]))
        assert found.item() == pytest.approx(0.4**2 + 1.0)

    def test_the_critics_target_is_lowered_by_hand_computed_amounts(self, continued, networks):
        constant = {name: torch.zeros_like(value) for name, value in networks["slow"].items()}
        constant["1.bias"] = torch.full_like(constant["1.bias"], float(np.arctanh(0.5)))
        data, still = (
            continued.transitions,
            {name: torch.zeros_like(v) for name, v in networks["target"].items()},
        )
        # Actor 0.5 everywhere, target critics 0 everywhere: y = r - discount * mask * follows * 2 |0.5 - a'|^2.
        distance = (0.5 - continued.next_actions).square().sum(-1)
        y = data.rewards - 0.9 * data.masks * continued.follows * 2.0 * distance
        loss, metrics = rebrac.td_loss(
            networks["critic"], still, constant, continued, CRITIC, ACTOR, DISCOUNT, torch.tensor([2.0])
        )
        expected = (q(networks["critic"], data.states, data.actions) - y.unsqueeze(1)).square().mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        assert metrics["target_distance"].item() == pytest.approx(
            (continued.follows * distance).mean().item(), rel=1e-5
        )

    def test_the_noise_moves_the_target_action_inside_the_box(self, continued, networks):
        pushed = rebrac.ActorCriticBatch(**{**vars(continued), "noise": torch.full((1, B, A), 9.0)})
        loss, _ = rebrac.td_loss(
            networks["critic"],
            networks["target"],
            networks["slow"],
            pushed,
            CRITIC,
            ACTOR,
            DISCOUNT,
            torch.zeros(1),
        )
        data = continued.transitions
        y = data.rewards + 0.9 * data.masks * q(
            networks["target"], data.next_states, torch.ones(1, B, A)
        ).amin(1)
        expected = (q(networks["critic"], data.states, data.actions) - y.unsqueeze(1)).square().mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_the_actors_loss_is_its_distance_less_the_smaller_value_over_its_size(self, data, networks):
        loss, _ = rebrac.actor_loss(
            networks["actor"], networks["critic"], data, CRITIC, ACTOR, torch.tensor([0.3]), True
        )
        actions = ACTOR(networks["actor"], data.states).tanh()
        values = q(networks["critic"], data.states, actions).amin(1)
        expected = (
            0.3 * (actions - data.actions).square().sum(-1).mean() - values.mean() / values.abs().mean()
        )
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
