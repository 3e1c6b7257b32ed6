"""IFQL: implicit Q-learning (Kostrikov, Nair and Levine, 2021, arXiv 2110.06169) with the flow as its policy.

Legend: P lanes, E critics (two), B batch, K samples, O observation size, A action size. States are normalised.

Values are learnt from the data's actions alone; the policy is the best of K samples of the imitating flow
(the flow variant of IDQL that FQL compares with, arXiv 2502.02538):

    value     L_tau(min_j Q'_j(s, a) - V(s)),  L_tau(u) = |tau - 1(u < 0)| u^2
    critics   (Q_j(s, a) - y)^2,  y = r + discount * mask * V(s')
    policy    argmax_k min_j Q_j(s, a_k),  a_k ~ flow(s)

Each term trains exactly one network; all else it reads is cut from the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..base import Lane, Snapshot
from ..config import parse
from ..critics import critic_values, squared_td_loss
from ..data.columns import Columns, ObservationScale, Transitions
from ..data.dataset import FlatDataset
from ..fidec.flow import Flow
from ..fidec.learner import flow_from, flow_tensors
from ..nets import MLP, Params, move_towards
from ..offline import ModularLearner, standard_normal, upstream
from ..population import lane_values, shared_config, stacked
from ..streams import Streams
from .config import ValueConfig

Metrics = Mapping[str, torch.Tensor]


def expectile_loss(difference: torch.Tensor, expectile: torch.Tensor) -> torch.Tensor:
    """|tau - 1(u < 0)| u^2 for u [P, B] and tau [P]; [P, B]. Its mean over u - m is least at m the tau-expectile."""
    tau = expectile.unsqueeze(-1)
    return torch.where(difference < 0, 1 - tau, tau) * difference.square()


def value_loss(
    value: Params,
    targets: Params,
    batch: Transitions,
    network: MLP,
    critic: MLP,
    expectile: torch.Tensor,
) -> tuple[torch.Tensor, Metrics]:
    """Expectile regression of V(s) on the smaller target critic at the data's action (equation 5).

    Args:
        value: parameters that receive the gradient.
        targets: parameters of the target critics, cut.
        network, critic: the state value and the critics.
        expectile: [P] tau.
    """
    with torch.no_grad():
        q = critic_values(critic, targets, batch.states, batch.actions).amin(1)
    v = network(value, batch.states).squeeze(-1)
    loss = expectile_loss(q - v, expectile).mean(-1)
    return loss, {
        "value_loss": loss,
        "v_mean": v.mean(-1),
        "q_mean": q.mean(-1),
        "advantage_positive": (q > v).float().mean(-1),
    }


def td_loss(
    critics: Params, value: Params, batch: Transitions, network: MLP, critic: MLP, discount: torch.Tensor
) -> tuple[torch.Tensor, Metrics]:
    """Square TD error against the value of the next state (equation 6).

    Args:
        critics: parameters that receive the gradient.
        value: parameters of the state value, cut.
        network, critic: the state value and the critics.
        discount: [P].
    """
    with torch.no_grad():
        following = network(value, batch.next_states).squeeze(-1)
        target = batch.rewards + discount.unsqueeze(-1) * batch.masks * following
    return squared_td_loss(critics, batch.states, batch.actions, target, critic)


@dataclass(frozen=True)
class BestOfFlow:
    """The sample of highest Q among K of the flow.

    Attributes:
        samples: K.
    """

    flow: Flow
    critic: MLP
    critics: Params
    samples: int

    @torch.no_grad()
    def act(self, observations: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Actions in [-1, 1] for raw observations [P, B, O]; fresh noise for every action."""
        states = ObservationScale(self.flow.mean, self.flow.std).normalized(observations)
        lanes, batch, size = *states.shape[:2], self.flow.action_dim
        noise = standard_normal(generators, batch * self.samples, size).to(states.device)
        repeated = states.repeat_interleave(self.samples, 1)
        actions = self.flow.sample(repeated, noise).clamp(-1, 1)
        values = critic_values(self.critic, self.critics, repeated, actions).amin(1)
        best = values.view(lanes, batch, self.samples).argmax(-1)
        chosen = best.view(lanes, batch, 1, 1).expand(-1, -1, 1, size)
        return actions.view(lanes, batch, self.samples, size).gather(2, chosen).squeeze(2)


class ValueLearner(ModularLearner):
    """P pairs of state value and critics trained side by side, over the same or different flows."""

    def __init__(self, lanes: Sequence[Lane[ValueConfig]], source: FlatDataset, device: str):
        super().__init__(lanes, source, device)
        self.config = config = shared_config(lanes)
        self.columns = Columns(source, device)
        self.flow = flow_from(upstream(lanes, "pretrain"), device)
        self.scale = ObservationScale(self.flow.mean, self.flow.std)
        states, actions = source.info.observation_dim, source.info.action_dim
        self.critic = critic_network(states, actions, config.hidden)
        self.value = MLP(states, 1, config.hidden, layer_norm=True)
        self.expectile, self.discount, self.target_rate = (
            lane_values(lanes, name, device) for name in ("expectile", "discount", "target_rate")
        )
        init = Streams(self.seeds, "value/init").generators
        self.start_networks(
            "value",
            {"critic": self.critic.init(init), "value": self.value.init(init)},
            {"critic": "critic_learning_rate", "value": "value_learning_rate"},
            followed=["critic"],
        )

    def update(self) -> Metrics:
        """Value and critics, then the target critics."""
        index = self.streams.integers(len(self.columns), self.config.batch_size)
        batch = self.columns.transitions(index, self.scale)
        critics, value = self.params["critic"], self.params["value"]
        regression, metrics = self.accelerated(value_loss)(
            value, self.targets["critic"], batch, self.value, self.critic, self.expectile
        )
        td, td_metrics = self.accelerated(td_loss)(
            critics, value, batch, self.value, self.critic, self.discount
        )
        self.descend(self.gradients({"critic": td, "value": regression}))
        move_towards(self.targets["critic"], critics, self.target_rate)
        return {**td_metrics, **metrics}

    def policy(self) -> BestOfFlow:
        """The best-of-K policies as they are now."""
        return BestOfFlow(self.flow, self.critic, self.params["critic"], self.config.action_samples)

    def outputs(self) -> list[Snapshot]:
        """Everything the policy needs, the flow included, and the state value."""
        return [
            Snapshot(
                {**flow_tensors(self.flow, lane), **self.lane_tensors(lane, "critic", "value")},
                {
                    "flow": self.flow.settings(),
                    "value": self.lanes[lane].config.model_dump(mode="json"),
                },
            )
            for lane in range(len(self.lanes))
        ]


def critic_network(states: int, actions: int, hidden: tuple[int, ...]) -> MLP:
    """Two critics."""
    return MLP(states + actions, 1, hidden, layer_norm=True, members=2)


def stored_policy(outputs: Sequence[Snapshot], device: str) -> BestOfFlow:
    """The best-of-K policies that stored outputs stand for, one lane per output."""
    config, settings = parse(ValueConfig, outputs[0].meta["value"]), outputs[0].meta["flow"]
    critic = critic_network(settings["observation_dim"], settings["action_dim"], config.hidden)
    return BestOfFlow(
        flow_from(outputs, device), critic, stacked(outputs, "critic", device), config.action_samples
    )
