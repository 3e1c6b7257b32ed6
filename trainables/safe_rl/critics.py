"""Critics of reward and cost, their slopes in the action without a gradient graph, and what they are trained on.

Legend: P lanes, E critics (two for reward), B batch, R rows, O observation size, A action size, H hidden width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from ..nets import MLP, Params
from ..products import affine, product, worth_a_call_each
from .replay import Batch

Metrics = Mapping[str, torch.Tensor]


class Critics(NamedTuple):
    """The architectures: two reward critics of ReLU units, E cost critics of SiLU units."""

    reward: MLP
    cost: MLP

    @classmethod
    def of(cls, inputs: int, hidden: Sequence[int], members: int) -> Critics:
        """For states with actions of ``inputs`` entries together."""
        widths = tuple(hidden)
        return cls(
            MLP(inputs, 1, widths, members=2, activation="relu"),
            MLP(inputs, 1, widths, members=members, activation="silu"),
        )


class Slopes(NamedTuple):
    """Values [P, E, R] and their gradients in the action [P, E, R, A]."""

    values: torch.Tensor
    slopes: torch.Tensor


@torch.no_grad()
def values_and_slopes(network: MLP, params: Params, inputs: torch.Tensor, actions: int) -> Slopes:
    """Q and its gradient in the last ``actions`` entries of the inputs, by the chain rule written out.

    Autograd would keep a graph of every layer and also walk what nobody asks for.

    Args:
        network: an ensemble of ReLU or SiLU units.
        params: its parameters [P, E, ...].
        inputs: [P, R, O + A].
        actions: A.
    """
    members = network.members or 1
    flat = {name: value.flatten(0, 1) for name, value in params.items()}
    if worth_a_call_each(inputs, network.multiplications // members):
        apart = {name: value.unbind() for name, value in flat.items()}
        found = [
            _chain(network, {name: v[i] for name, v in apart.items()}, inputs[i // members], actions)
            for i in range(len(inputs) * members)
        ]
        values, slopes = torch.stack([v for v, _ in found]), torch.stack([s for _, s in found])
    else:
        rows = inputs.unsqueeze(1).expand(-1, members, -1, -1).flatten(0, 1)
        values, slopes = _chain(network, flat, rows, actions)
    shape = (len(inputs), members)
    return Slopes(values.squeeze(-1).unflatten(0, shape), slopes.unflatten(0, shape))


def _chain(network: MLP, params: Params, x: torch.Tensor, actions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[..., R, 1] and [..., R, A] for one network, or for a batch of them."""
    single = x.dim() == 2
    layer, times = (affine, product) if single else (torch.baddbmm, torch.bmm)
    last, kept = len(network.sizes) - 2, []
    for index in range(last):
        z = layer(params[f"{index}.bias"], x, params[f"{index}.weight"])
        if network.activation == "relu":
            x = z.relu_()
            kept.append(x)
        else:
            gate = z.sigmoid()
            x = z.mul_(gate)
            kept.append(torch.addcmul(gate, x, 1 - gate))  # d silu = s + z s (1 - s)
    values = layer(params[f"{last}.bias"], x, params[f"{last}.weight"])
    slope = params[f"{last}.weight"].transpose(-1, -2).expand_as(kept[-1])
    for index in range(last - 1, -1, -1):
        if network.activation == "relu":
            slope = torch.ops.aten.threshold_backward(slope, kept[index], 0)
        else:
            slope = slope * kept[index]
        weight = params[f"{index}.weight"]
        slope = times(slope, (weight if index else weight[..., -actions:, :]).transpose(-1, -2))
    return values, slope


def upper_bound(values: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """Qc^ = mean + k std over the ensemble; [P, E, R] and k [P] to [P, R]. One member has no spread."""
    mean, members = values.mean(1), values.shape[1]
    if members == 1:
        return mean
    return mean + margin.unsqueeze(-1) * _spread(values - mean.unsqueeze(1))


def _spread(away: torch.Tensor) -> torch.Tensor:
    """Standard deviation [P, R] of what lies that far from the mean of the ensemble, [P, E, R]."""
    # Several times faster than torch.std over an axis in the middle.
    return (away.square().sum(1) / (away.shape[1] - 1)).sqrt()


def upper_bound_slope(found: Slopes, margin: torch.Tensor) -> torch.Tensor:
    """Gradient of :func:`upper_bound` in the action, [P, R, A]."""
    values, slopes = found
    members = values.shape[1]
    if members == 1:
        return slopes[:, 0]
    away = values - values.mean(1, keepdim=True)
    spread = _spread(away).unsqueeze(1).clamp_min(1e-8)
    weights = 1 / members + margin.view(-1, 1, 1) * away / ((members - 1) * spread)
    return (weights.unsqueeze(-1) * slopes).sum(1)


def smaller_slope(found: Slopes) -> tuple[torch.Tensor, torch.Tensor]:
    """min(Q1, Q2) [P, R] and its gradient in the action [P, R, A]."""
    values, slopes = found
    smaller = (values[:, 1] < values[:, 0]).unsqueeze(-1)
    return values.amin(1), torch.where(smaller, slopes[:, 1], slopes[:, 0])


class Judgement(NamedTuple):
    """What the critics say of some actions: min Q [P, R] and Qc^ [P, R], each with its gradient [P, R, A]."""

    q: torch.Tensor
    q_slope: torch.Tensor
    cost: torch.Tensor
    cost_slope: torch.Tensor


@torch.no_grad()
def judgement(
    critics: Critics, reward: Params, cost: Params, inputs: torch.Tensor, actions: int, margin: torch.Tensor
) -> Judgement:
    """Ask all critics about states with actions [P, R, O + A], by analytic gradients."""
    of_reward = values_and_slopes(critics.reward, reward, inputs, actions)
    of_cost = values_and_slopes(critics.cost, cost, inputs, actions)
    return Judgement(
        *smaller_slope(of_reward), upper_bound(of_cost.values, margin), upper_bound_slope(of_cost, margin)
    )


def policy_loss(actions: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """A mean over actions [P, B, A] whose gradient is that of what has the gradient ``slope`` at them; [P].

    What the critics say needs no graph: only how the actions came about does.
    """
    return (slope * actions).sum(-1).mean(-1)


def reward_td_loss(
    critics: Params,
    targets: Params,
    batch: Batch,
    next_actions: torch.Tensor,
    network: MLP,
    discount: torch.Tensor,
    entropy: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Metrics]:
    """Square error of both critics against r + gamma mask (min Q'(s', a') + entropy bonus); [P].

    The mask is 0 where the task ended, and 1 where the episode was merely cut.

    Args:
        critics: parameters that receive the gradient; targets: their slowly following copies.
        next_actions: [P, B, A] of the policy at s'.
        discount: [P].
        entropy: [P, B], -alpha log pi(a'|s'); none without.
    """
    with torch.no_grad():
        following = network(targets, torch.cat([batch.next_states, next_actions], -1)).squeeze(-1).amin(1)
        if entropy is not None:
            following = following + entropy
        target = batch.rewards + discount.unsqueeze(-1) * batch.masks * following
    error = network(critics, batch.inputs).squeeze(-1) - target.unsqueeze(1)
    loss = error.square().mean((-1, -2))
    return loss, {"critic_loss": loss}


def cost_td_loss(
    critics: Params,
    targets: Params,
    batch: Batch,
    next_actions: torch.Tensor,
    network: MLP,
    discount: torch.Tensor,
) -> tuple[torch.Tensor, Metrics]:
    """Square error of every cost critic against c + gamma_c mask Qc_e'(s', a'), its own target copy's; [P]."""
    with torch.no_grad():
        following = network(targets, torch.cat([batch.next_states, next_actions], -1)).squeeze(-1)
        target = batch.costs.unsqueeze(1) + discount.view(-1, 1, 1) * batch.masks.unsqueeze(1) * following
    values = network(critics, batch.inputs).squeeze(-1)
    loss = (values - target).square().mean((-1, -2))
    seen = values.detach()
    spread = (
        _spread(seen - seen.mean(1, keepdim=True)).mean(-1) if seen.shape[1] > 1 else torch.zeros_like(loss)
    )
    return loss, {"cost_critic_loss": loss, "cost_q_mean": seen.mean((-1, -2)), "cost_q_std": spread}
