"""What ALGD descends, as pure functions of tensors (Cheng et al., 2026, arXiv 2602.02924).

The constraint holds at every state and action: Qc^(s, a) <= h, with Qc^ an upper bound on the discounted cost. In units
that make settings mean the same everywhere, q = Q / scale and g = (Qc^ - h) / h; without normalisation scale and
divisor are 1. The energy of an action is, in its minimisation form,

    plain       L   = -q + lambda g
    augmented   L_A = -q + (max(0, lambda + rho g)^2 - lambda^2) / (2 rho)              (equation 9; Rockafellar, 1973)
    penalty     the augmented one at lambda = 0

    grad L_A = -grad q + lambda_eff grad g,     lambda_eff = max(0, lambda + rho g)
    Hess L_A = -Hess q + lambda_eff Hess g + rho grad g grad g^T                        where lambda_eff > 0

The last term is what the quadratic part is for: where the constraint binds, the energy is convex across it. At a point
that satisfies the constraint with complementary slackness, value and gradient equal those of L: the optimum stays.

Legend: P lanes, B batch, R rows, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from ..nets import Params
from ..safe_rl.critics import Critics, judgement, upper_bound

Metrics = Mapping[str, torch.Tensor]
Kind = Literal["augmented", "lagrangian", "penalty"]


def lagrangian_part(
    violation: torch.Tensor, multiplier: torch.Tensor, rho: torch.Tensor, kind: Kind
) -> tuple[torch.Tensor, torch.Tensor]:
    """The constraint's part of the energy and its derivative lambda_eff in g, both [P, R].

    Args:
        violation: [P, R] g, above 0 where the constraint is violated.
        multiplier, rho: [P].
        kind: which energy.
    """
    lam, rho = multiplier.unsqueeze(-1), rho.unsqueeze(-1)
    if kind == "lagrangian":
        return lam * violation, lam.expand_as(violation)
    if kind == "penalty":
        lam = torch.zeros_like(lam)
    effective = (lam + rho * violation).clamp_min(0)
    return (effective.square() - lam.square()) / (2 * rho), effective


@dataclass(frozen=True)
class Energy:
    """The settings of an energy.

    Attributes:
        kind: which.
        multiplier, rho, margin: [P] lambda, rho, and the k of the cost's upper bound.
        limit: [P] h.
        q_scale, cost_scale: [P] what Q and the cost are divided by.
    """

    kind: Kind
    multiplier: torch.Tensor
    rho: torch.Tensor
    margin: torch.Tensor
    limit: torch.Tensor
    q_scale: torch.Tensor
    cost_scale: torch.Tensor

    def violation(self, cost: torch.Tensor) -> torch.Tensor:
        """g of an upper bound on the cost [P, R]."""
        return (cost - self.limit.unsqueeze(-1)) / self.cost_scale.unsqueeze(-1)


@dataclass(frozen=True)
class Landscape:
    """The energy at some actions; no gradient flows through it.

    Attributes:
        value: [P, R] L.
        slope: [P, R, A] its gradient in the action.
        effective: [P, R] lambda_eff.
        cost: [P, R] Qc^.
        q: [P, R] min Q, not scaled.
    """

    value: torch.Tensor
    slope: torch.Tensor
    effective: torch.Tensor
    cost: torch.Tensor
    q: torch.Tensor


@torch.no_grad()
def landscape(
    critics: Critics, reward: Params, cost: Params, inputs: torch.Tensor, actions: int, energy: Energy
) -> Landscape:
    """Energy and slope at states with actions, by analytic gradients of all critics.

    Args:
        critics: architectures; reward, cost: their parameters.
        inputs: [P, R, O + A].
        actions: A.
        energy: the settings.
    """
    seen = judgement(critics, reward, cost, inputs, actions, energy.margin)
    part, effective = lagrangian_part(energy.violation(seen.cost), energy.multiplier, energy.rho, energy.kind)
    q_scale, cost_scale = energy.q_scale.unsqueeze(-1), energy.cost_scale.unsqueeze(-1)
    slope = (effective / cost_scale).unsqueeze(-1) * seen.cost_slope - seen.q_slope / q_scale.unsqueeze(-1)
    return Landscape(part - seen.q / q_scale, slope, effective, seen.cost, seen.q)


@torch.no_grad()
def energy_values(
    critics: Critics, reward: Params, cost: Params, inputs: torch.Tensor, energy: Energy
) -> torch.Tensor:
    """L alone, [P, R]."""
    q = critics.reward(reward, inputs).squeeze(-1).amin(1)
    bound = upper_bound(critics.cost(cost, inputs).squeeze(-1), energy.margin)
    part, _ = lagrangian_part(energy.violation(bound), energy.multiplier, energy.rho, energy.kind)
    return part - q / energy.q_scale.unsqueeze(-1)


def score_loss(score: torch.Tensor, target: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Mean square distance of the learnt score from its target, weighted by sigma^2 (Song and Ermon, 2019); [P].

    Args:
        score, target: [P, B, A].
        sigma: [P, B] noise of the rows' levels; ones for no weight.
    """
    return (sigma.unsqueeze(-1) * (score - target)).square().mean((-1, -2))
