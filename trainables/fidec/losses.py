"""The losses of FiDec, each a pure function of parameters and batch returning (value per lane, metrics).

Legend: P lanes, E critics, B batch, O observation size, A action size. States are normalised.

Each term trains exactly one network; everything else it reads is cut from the gradient:

    flow matching   velocity      nothing to cut
    TD              critics       target critics, residual, base actions
    residual        residual      critics, base actions, Fisher matrix, alpha
    dual            log alpha     penalty
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from ..critics import critic_values
from ..nets import MLP, Params, detached
from .fisher import Fisher, Metric
from .flow import velocity_of

Metrics = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class FlowBatch:
    """states [P, B, O], actions [P, B, A], noise [P, B, A] standard normal, times [P, B, 1] in [0, 1)."""

    states: torch.Tensor
    actions: torch.Tensor
    noise: torch.Tensor
    times: torch.Tensor


def flow_matching_loss(flow: Params, batch: FlowBatch, network: MLP) -> tuple[torch.Tensor, Metrics]:
    """Mean square distance of the velocity from the straight path noise -> action (Lipman et al., 2023)."""
    points = (1 - batch.times) * batch.noise + batch.times * batch.actions
    velocity = velocity_of(network, flow)(batch.states, points, batch.times)
    loss = (velocity - (batch.actions - batch.noise)).square().mean((-1, -2))
    return loss, {"loss": loss}


@dataclass(frozen=True)
class Policy:
    """What makes a refined action out of a base action.

    Attributes:
        network: the residual f(s, mu).
        scale: [P] residual scale.
        form: ``linear`` scale * f, ``tanh`` scale * tanh(f).
        radius: [P] KL radius.
        metric: the penalty's metric.
        project: scale each displacement back onto the radius.
    """

    network: MLP
    scale: torch.Tensor
    form: Literal["linear", "tanh"]
    radius: torch.Tensor
    metric: Metric
    project: bool

    def displacement(self, residual: Params, states: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """delta(s, mu), before any projection; [P, B, A]."""
        output = self.network(residual, torch.cat([states, base], -1))
        return self.scale.view(-1, 1, 1) * (output.tanh() if self.form == "tanh" else output)

    def projected(self, displacement: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
        """The displacement, shortened where its penalty [P, B] is above the radius, when projection is on."""
        if not self.project:
            return displacement
        radius = self.radius.unsqueeze(-1)
        # The penalty is quadratic, so the square root of the ratio brings it onto the radius exactly.
        return displacement * (radius / torch.maximum(penalty, radius)).sqrt().unsqueeze(-1)

    def refine(self, residual: Params, states: torch.Tensor, base: torch.Tensor, fisher: Fisher):
        """Refined actions [P, B, A] in the box, for base actions in the box."""
        displacement = self.displacement(residual, states, base)
        if self.project:
            displacement = self.projected(displacement, self.metric.penalty(fisher, displacement))
        return (base + displacement).clamp(-1, 1)


@dataclass(frozen=True)
class RefineBatch:
    """Transitions with the flow's actions at both ends.

    Attributes:
        states, next_states: [P, B, O]; actions: [P, B, A] of the data; rewards, masks: [P, B].
        base, next_base: [P, B, A] actions of the frozen flow, in the box.
        fisher, next_fisher: the Fisher matrices of both states (the latter only read when projecting).
    """

    states: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    masks: torch.Tensor
    next_states: torch.Tensor
    base: torch.Tensor
    next_base: torch.Tensor
    fisher: Fisher
    next_fisher: Fisher


def td_loss(
    critics: Params,
    targets: Params,
    residual: Params,
    batch: RefineBatch,
    network: MLP,
    policy: Policy,
    discount: torch.Tensor,
    aggregation: Literal["mean", "min"],
) -> tuple[torch.Tensor, Metrics]:
    """Mean square TD error of the ensemble against r + discount * mask * agg Q'(s', refined action).

    Args:
        critics, targets, residual: parameters; only ``critics`` receive a gradient.
        batch: transitions and base actions.
        network: the critic ensemble.
        policy: how actions are refined.
        discount: [P].
        aggregation: over the ensemble.
    """
    with torch.no_grad():
        next_actions = policy.refine(residual, batch.next_states, batch.next_base, batch.next_fisher)
        following = critic_values(network, targets, batch.next_states, next_actions)
        following = following.amin(1) if aggregation == "min" else following.mean(1)
        target = batch.rewards + discount.unsqueeze(-1) * batch.masks * following
    error = critic_values(network, critics, batch.states, batch.actions) - target.unsqueeze(1)
    loss = error.square().mean((-1, -2))
    return loss, {"critic_loss": loss, "td_error": error.abs().mean((-1, -2))}


def residual_loss(
    residual: Params,
    critics: Params,
    alpha: torch.Tensor,
    batch: RefineBatch,
    network: MLP,
    policy: Policy,
    normalize_q: bool,
) -> tuple[torch.Tensor, Metrics]:
    """Climb the mean critic against the Fisher penalty: -lambda mean Q(s, a') + alpha mean penalty.

    The penalty reads the displacement before clipping to the box, Q the clipped action; under projection the
    penalty is not part of the loss. lambda is 1, or 1 / mean |Q|.

    Args:
        residual: parameters that receive the gradient.
        critics: parameters of the ensemble, cut.
        alpha: [P] multiplier, cut.
        batch: states, base actions, Fisher matrices.
        network: the critic ensemble.
        policy: how actions are refined.
        normalize_q: whether lambda is 1 / mean |Q|.
    """
    displacement = policy.displacement(residual, batch.states, batch.base)
    penalty = policy.metric.penalty(batch.fisher, displacement)
    taken = policy.projected(displacement, penalty)
    actions = (batch.base + taken).clamp(-1, 1)
    values = critic_values(network, detached(critics), batch.states, actions).mean(1)
    weight = 1 / values.detach().abs().mean(-1).clamp_min(1e-6) if normalize_q else 1.0
    mean_penalty = penalty.mean(-1)
    loss = -weight * values.mean(-1)
    if not policy.project:
        loss = loss + alpha.detach() * mean_penalty
    return loss, _residual_metrics(policy, batch, taken.detach(), penalty.detach(), actions.detach(), values)


def _residual_metrics(policy, batch, taken, penalty, actions, values) -> Metrics:
    radius = policy.radius
    if policy.project:
        active = (penalty >= 0.9 * radius.unsqueeze(-1)).float().mean(-1)
        penalty = torch.minimum(penalty, radius.unsqueeze(-1))
    mean_penalty = penalty.mean(-1)
    if not policy.project:
        active = (mean_penalty >= 0.9 * radius).float()
    nats = {} if batch.fisher.is_identity else {"kl_nats": 0.5 * batch.fisher.quadratic(taken).mean(-1)}
    return {
        "penalty": mean_penalty,
        "penalty_over_radius": mean_penalty / radius,
        "constraint_active": active,
        **nats,
        "q_mean": values.detach().mean(-1),
        "q_max": values.detach().amax(-1),
        "residual_rms": taken.square().mean((-1, -2)).sqrt(),
        "residual_max": taken.abs().amax((-1, -2)),
        "boundary_share": (actions.abs() >= 1).float().mean((-1, -2)),
    }


def dual_loss(log_alpha: torch.Tensor, penalty: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """-log alpha * (penalty - radius): its descent raises alpha while the penalty exceeds the radius; [P]."""
    return -log_alpha * (penalty.detach() - radius)
