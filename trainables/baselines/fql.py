"""FQL, flow Q-learning (Park, Li and Levine, 2025, arXiv 2502.02538): a one-step policy over a frozen flow.

Legend: P lanes, E critics (two), B batch, O observation size, A action size. States are normalised.

The flow imitates the data; the policy mu(s, z) maps the flow's starting noise to an action in one step:

    critics   (Q_j(s, a) - y)^2,  y = r + discount * mask * agg_j Q'_j(s', clip mu(s', z'))
    policy    -lambda mean_j Q_j(s, clip mu(s, z)) + alpha (mu(s, z) - clip flow(s, z))^2

Each term trains exactly one network; all else it reads is cut from the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..base import Lane, Snapshot
from ..config import parse
from ..critics import Aggregation, aggregated, critic_values, inverse_size, squared_td_loss
from ..data.columns import Columns, ObservationScale, Transitions
from ..data.dataset import FlatDataset
from ..fidec.learner import flow_from
from ..nets import MLP, Params, detached, move_towards
from ..offline import ModularLearner, standard_normal, stored_scale, upstream
from ..population import lane_values, shared_config, stacked
from ..streams import Streams
from .config import DistillConfig

Metrics = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class DistillBatch:
    """Transitions with noise and what the frozen flow makes of it.

    Attributes:
        noise, next_noise: [P, B, A] standard normal, z and z'.
        flow_actions: [P, B, A] the flow's sample that starts from ``noise``, in the box.
    """

    transitions: Transitions
    noise: torch.Tensor
    next_noise: torch.Tensor
    flow_actions: torch.Tensor


def one_step(network: MLP, policy: Params, states: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """mu(s, z), not clipped; [P, B, A]."""
    return network(policy, torch.cat([states, noise], -1))


def td_loss(
    critics: Params,
    targets: Params,
    policy: Params,
    batch: DistillBatch,
    critic: MLP,
    actor: MLP,
    discount: torch.Tensor,
    aggregation: Aggregation,
) -> tuple[torch.Tensor, Metrics]:
    """Square TD error against the value of the policy's own next action (section 4, equation of the critic loss).

    Args:
        critics, targets, policy: parameters; only ``critics`` receive a gradient.
        critic, actor: the networks.
        discount: [P].
    """
    data = batch.transitions
    with torch.no_grad():
        next_actions = one_step(actor, policy, data.next_states, batch.next_noise).clamp(-1, 1)
        following = aggregated(critic_values(critic, targets, data.next_states, next_actions), aggregation)
        target = data.rewards + discount.unsqueeze(-1) * data.masks * following
    return squared_td_loss(critics, data.states, data.actions, target, critic)


def policy_loss(
    policy: Params,
    critics: Params,
    batch: DistillBatch,
    critic: MLP,
    actor: MLP,
    alpha: torch.Tensor,
    normalize_q: bool,
) -> tuple[torch.Tensor, Metrics]:
    """Distillation from the flow plus Q maximisation (section 4, equation of the one-step policy's loss).

    The distillation reads the action before clipping to the box, Q the clipped action.

    Args:
        policy: parameters that receive the gradient.
        critics: parameters of the critics, cut.
        alpha: [P] weight of the distillation.
        normalize_q: whether lambda is 1 / mean |Q|, else 1.
    """
    states = batch.transitions.states
    actions = one_step(actor, policy, states, batch.noise)
    distillation = (actions - batch.flow_actions.detach()).square().mean((-1, -2))
    clipped = actions.clamp(-1, 1)
    values = critic_values(critic, detached(critics), states, clipped).mean(1)
    weight = inverse_size(values) if normalize_q else 1.0
    loss = alpha * distillation - weight * values.mean(-1)
    return loss, {
        "distillation_loss": distillation,
        "q_mean": values.mean(-1),
        "boundary_share": (clipped.detach().abs() >= 1).float().mean((-1, -2)),
    }


@dataclass(frozen=True)
class OneStepPolicy:
    """The distilled policy: one pass from noise to action."""

    actor: MLP
    params: Params
    scale: ObservationScale

    @torch.no_grad()
    def act(self, observations: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Actions in [-1, 1] for raw observations [P, B, O]; fresh noise for every action."""
        states = self.scale.normalized(observations)
        noise = standard_normal(generators, states.shape[1], self.actor.outputs).to(states.device)
        return one_step(self.actor, self.params, states, noise).clamp(-1, 1)


class DistillLearner(ModularLearner):
    """P one-step policies trained side by side, over the same or different flows."""

    def __init__(self, lanes: Sequence[Lane[DistillConfig]], source: FlatDataset, device: str):
        super().__init__(lanes, source, device)
        self.config = config = shared_config(lanes)
        self.columns = Columns(source, device)
        self.flow = flow_from(upstream(lanes, "pretrain"), device)
        self.scale = ObservationScale(self.flow.mean, self.flow.std)
        states, actions = source.info.observation_dim, source.info.action_dim
        self.critic = MLP(states + actions, 1, config.hidden, layer_norm=True, members=2)
        self.actor = MLP(states + actions, actions, config.hidden)
        self.alpha, self.discount, self.target_rate = (
            lane_values(lanes, name, device) for name in ("alpha", "discount", "target_rate")
        )
        init = Streams(self.seeds, "distill/init").generators
        self.start_networks(
            "distill",
            {"critic": self.critic.init(init), "policy": self.actor.init(init)},
            {"critic": "critic_learning_rate", "policy": "policy_learning_rate"},
            followed=["critic"],
        )

    def update(self) -> Metrics:
        """Critics and policy, then the target critics."""
        batch, config = self._batch(), self.config
        critics, policy = self.params["critic"], self.params["policy"]
        td, td_metrics = self.accelerated(td_loss)(
            critics, self.targets["critic"], policy, batch, self.critic, self.actor, self.discount, config.q_aggregation
        )  # fmt: skip
        climb, metrics = self.accelerated(policy_loss)(
            policy, critics, batch, self.critic, self.actor, self.alpha, config.normalize_q
        )
        self.descend(self.gradients({"critic": td, "policy": climb}))
        move_towards(self.targets["critic"], critics, self.target_rate)
        return {**td_metrics, **metrics}

    def _batch(self) -> DistillBatch:
        size = self.config.batch_size
        index = self.streams.integers(len(self.columns), size)
        noise, next_noise = self.streams.normal(2, size, self.flow.action_dim).unbind(1)
        data = self.columns.transitions(index, self.scale)
        with torch.no_grad():
            flow_actions = self.flow.sample(data.states, noise).clamp(-1, 1)
        return DistillBatch(data, noise, next_noise, flow_actions)

    def policy(self) -> OneStepPolicy:
        """The distilled policies as they are now."""
        return OneStepPolicy(self.actor, self.params["policy"], self.scale)

    def outputs(self) -> list[Snapshot]:
        """The one-step policy, the scale of its observations, and the critics; the flow is no longer needed."""
        return [
            Snapshot(
                {**self.scale.tensors(lane), **self.lane_tensors(lane, "policy", "critic")},
                {
                    "distill": self.lanes[lane].config.model_dump(mode="json"),
                    "action_dim": self.actor.outputs,
                },
            )
            for lane in range(len(self.lanes))
        ]


def stored_policy(outputs: Sequence[Snapshot], device: str) -> OneStepPolicy:
    """The one-step policies that stored outputs stand for, one lane per output."""
    scale, meta = stored_scale(outputs, device), outputs[0].meta
    config = parse(DistillConfig, meta["distill"])
    actor = MLP(scale.observation_dim + meta["action_dim"], meta["action_dim"], config.hidden)
    return OneStepPolicy(actor, stacked(outputs, "policy", device), scale)
