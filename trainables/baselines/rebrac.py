"""ReBRAC (Tarasov, Kurenkov, Nikulin and Kolesnikov, 2023, arXiv 2305.09836): TD3 with two behaviour penalties.

Legend: P lanes, E critics (two), B batch, O observation size, A action size. States are normalised.

A deterministic actor pi; e is clipped normal noise, a' what the data did next, |.|^2 the sum over action entries:

    critics   (Q_j(s, a) - y)^2,
              y = r + discount * mask * (min_j Q'_j(s', b) - critic_penalty |b - a'|^2),  b = clip(pi'(s') + e)
    actor     actor_penalty |pi(s) - a|^2 - lambda min_j Q_j(s, pi(s)),  lambda = 1 / mean |Q|

The actor and all target copies move in every second update. Each term trains exactly one network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..base import Lane, Snapshot
from ..config import parse
from ..critics import critic_values, inverse_size, squared_td_loss
from ..data.columns import Columns, ObservationScale, Transitions
from ..data.dataset import FlatDataset
from ..nets import MLP, Params, detached, move_towards
from ..offline import ModularLearner, stored_scale
from ..population import lane_values, shared_config, stacked
from ..streams import Streams
from .config import ActorCriticConfig

Metrics = Mapping[str, torch.Tensor]
ACTOR_METRICS = ("q_mean", "actor_distance", "boundary_share")


@dataclass(frozen=True)
class ActorCriticBatch:
    """Transitions with what the data did next.

    Attributes:
        next_actions: [P, B, A] the data's action at the next state.
        follows: [P, B] 1 where the data has one, 0 on an episode's last transition: no penalty is known there.
        noise: [P, B, A] clipped noise e on the target actor's action.
    """

    transitions: Transitions
    next_actions: torch.Tensor
    follows: torch.Tensor
    noise: torch.Tensor


def actor_actions(network: MLP, actor: Params, states: torch.Tensor) -> torch.Tensor:
    """pi(s) in (-1, 1); [P, B, A]."""
    return network(actor, states).tanh()


def behaviour_distance(actions: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    """|a - b|^2 summed over action entries, of [P, B, A]; [P, B]."""
    return (actions - data).square().sum(-1)


def td_loss(
    critics: Params,
    target_critics: Params,
    target_actor: Params,
    batch: ActorCriticBatch,
    critic: MLP,
    network: MLP,
    discount: torch.Tensor,
    penalty: torch.Tensor,
) -> tuple[torch.Tensor, Metrics]:
    """Square TD error against the penalised value of the target actor's noisy action (equation 4, critic part).

    Args:
        critics, target_critics, target_actor: parameters; only ``critics`` receive a gradient.
        critic, network: the critics and the actor.
        discount: [P]; penalty: [P] ``critic_penalty``.
    """
    data = batch.transitions
    with torch.no_grad():
        actions = (actor_actions(network, target_actor, data.next_states) + batch.noise).clamp(-1, 1)
        distance = batch.follows * behaviour_distance(actions, batch.next_actions)
        following = critic_values(critic, target_critics, data.next_states, actions).amin(1)
        following = following - penalty.unsqueeze(-1) * distance
        target = data.rewards + discount.unsqueeze(-1) * data.masks * following
    loss, metrics = squared_td_loss(critics, data.states, data.actions, target, critic)
    return loss, {**metrics, "target_distance": distance.mean(-1)}


def actor_loss(
    actor: Params,
    critics: Params,
    batch: Transitions,
    critic: MLP,
    network: MLP,
    penalty: torch.Tensor,
    normalize_q: bool,
) -> tuple[torch.Tensor, Metrics]:
    """Climb the smaller critic, held near the data's actions (equation 4, actor part).

    Args:
        actor: parameters that receive the gradient.
        critics: parameters of the critics, cut.
        critic, network: the critics and the actor.
        penalty: [P] ``actor_penalty``.
        normalize_q: whether lambda is 1 / mean |Q|, else 1.
    """
    actions = actor_actions(network, actor, batch.states)
    distance = behaviour_distance(actions, batch.actions).mean(-1)
    values = critic_values(critic, detached(critics), batch.states, actions).amin(1)
    weight = inverse_size(values) if normalize_q else 1.0
    loss = penalty * distance - weight * values.mean(-1)
    return loss, {
        "q_mean": values.mean(-1),
        "actor_distance": distance,
        "boundary_share": (actions.detach().abs() >= 0.99).float().mean((-1, -2)),
    }


@dataclass(frozen=True)
class DeterministicPolicy:
    """The actor, without noise."""

    network: MLP
    actor: Params
    scale: ObservationScale

    @torch.no_grad()
    def act(self, observations: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Actions in [-1, 1] for raw observations [P, B, O]; draws nothing."""
        return actor_actions(self.network, self.actor, self.scale.normalized(observations))


class ActorCriticLearner(ModularLearner):
    """P actors with their critics trained side by side."""

    def __init__(self, lanes: Sequence[Lane[ActorCriticConfig]], source: FlatDataset, device: str):
        super().__init__(lanes, source, device)
        self.config = config = shared_config(lanes)
        self.columns = Columns(source, device)
        self.scale = ObservationScale.of(source, config.normalize_observations, len(lanes), device)
        states, actions = source.info.observation_dim, source.info.action_dim
        self.critic = MLP(states + actions, 1, config.hidden, layer_norm=True, members=2)
        self.actor = MLP(states, actions, config.hidden)
        self.scalars = {
            name: lane_values(lanes, name, device)
            for name in (
                "discount", "target_rate", "actor_penalty", "critic_penalty", "target_noise", "target_noise_limit"
            )
        }  # fmt: skip
        init = Streams(self.seeds, "actor_critic/init").generators
        start = {"critic": self.critic.init(init), "actor": self.actor.init(init)}
        start["actor"][f"{len(config.hidden)}.weight"] *= config.actor_output_scale
        self.start_networks(
            "actor_critic",
            start,
            {"critic": "critic_learning_rate", "actor": "actor_learning_rate"},
            followed=["critic", "actor"],
        )
        # Of the newest update of the actor: repeated where the actor waits, so that every update reports the same names.
        self.actor_metrics = torch.zeros(len(ACTOR_METRICS), len(lanes), device=device)

    def update(self) -> Metrics:
        """The critics; in every ``actor_delay``-th update also the actor and the target copies."""
        batch, scalars = self._batch(), self.scalars
        critics, actor = self.params["critic"], self.params["actor"]
        losses = {}
        losses["critic"], metrics = self.accelerated(td_loss)(
            critics, self.targets["critic"], self.targets["actor"], batch,
            self.critic, self.actor, scalars["discount"], scalars["critic_penalty"],
        )  # fmt: skip
        moving = self.step % self.config.actor_delay == 0
        if moving:
            losses["actor"], newest = self.accelerated(actor_loss)(
                actor, critics, batch.transitions, self.critic, self.actor, scalars["actor_penalty"], self.config.normalize_q
            )  # fmt: skip
            self.actor_metrics = torch.stack([newest[name].detach() for name in ACTOR_METRICS])
        self.descend(self.gradients(losses))
        if moving:
            for name, target in self.targets.items():
                move_towards(target, self.params[name], scalars["target_rate"])
        return {**metrics, **dict(zip(ACTOR_METRICS, self.actor_metrics, strict=True))}

    def _batch(self) -> ActorCriticBatch:
        size = self.config.batch_size
        index = self.streams.integers(len(self.columns), size)
        deviation, limit = (
            self.scalars[name].view(-1, 1, 1) for name in ("target_noise", "target_noise_limit")
        )
        noise = deviation * self.streams.normal(size, self.actor.outputs)
        noise = torch.maximum(torch.minimum(noise, limit), -limit)
        data = self.columns.transitions(index, self.scale)
        return ActorCriticBatch(data, *self.columns.next_actions(index), noise)

    def policy(self) -> DeterministicPolicy:
        """The actors as they are now."""
        return DeterministicPolicy(self.actor, self.params["actor"], self.scale)

    def state(self) -> Snapshot:
        """As for any learner of several networks, with the actor's newest metrics."""
        state = super().state()
        return Snapshot({**state.tensors, "actor_metrics": self.actor_metrics.clone()}, state.meta)

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""
        super().load_state(snapshot)
        self.actor_metrics = snapshot.tensors["actor_metrics"].to(self.device, copy=True)

    def outputs(self) -> list[Snapshot]:
        """The actor, the scale of its observations, and the critics."""
        return [
            Snapshot(
                {**self.scale.tensors(lane), **self.lane_tensors(lane, "actor", "critic")},
                {
                    "actor_critic": self.lanes[lane].config.model_dump(mode="json"),
                    "action_dim": self.actor.outputs,
                },
            )
            for lane in range(len(self.lanes))
        ]


def stored_policy(outputs: Sequence[Snapshot], device: str) -> DeterministicPolicy:
    """The actors that stored outputs stand for, one lane per output."""
    scale, meta = stored_scale(outputs, device), outputs[0].meta
    config = parse(ActorCriticConfig, meta["actor_critic"])
    network = MLP(scale.observation_dim, meta["action_dim"], config.hidden)
    return DeterministicPolicy(network, stacked(outputs, "actor", device), scale)
