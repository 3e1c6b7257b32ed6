"""What is worth searching in FiDec, with ranges and reasons."""

from __future__ import annotations

from typing import Any

from .parameters import Choice, Proposal, Real, Space

KL_RADIUS = Real(
    low=3e-4,
    high=0.3,
    log=True,
    reason="published runs use 5e-4 to 1.5e-2; loose, multi-way data such as mazes profits up to 0.3",
)
FINE_KL_RADIUS = Real(
    low=3e-4,
    high=3e-2,
    log=True,
    reason="published runs use 5e-4 to 1.5e-2; manipulation leaves little room around the data",
)
RESIDUAL_SCALE = Real(
    low=0.1,
    high=3.0,
    log=True,
    reason="1 is the published method; with the linear form it multiplies the residual's learning rate",
)
FISHER_TIME = Choice(
    values=(0.8, 0.9, 0.95, 0.97, 0.98),
    reason="the score saturates near 1 / (1 - t)^2, so late times tell narrow directions apart; sources use up to 0.95",
)
FISHER_SCOPE = Choice(
    values=("state", "identity"),
    reason="whether the Fisher geometry earns its cost: identity is DeFlow's plain square penalty",
)
RESIDUAL_LEARNING_RATE = Real(
    low=1e-4,
    high=3e-3,
    log=True,
    reason="published runs use 3e-4; with the linear form the residual scale multiplies it, so search them together",
)
CRITIC_LEARNING_RATE = Real(
    low=1e-4, high=3e-3, log=True, reason="published runs use 3e-4; small tasks bear 1e-3"
)
Q_AGGREGATION = Choice(
    values=("mean", "min"),
    reason="min guards against overestimated values, mean learns faster; published runs use both",
)
DISCOUNT = Choice(values=(0.98, 0.99, 0.995), reason="horizons of 50, 100 and 200 steps")
ROOM = (0.01, 1.0)
"""Ends of the proposed range of the radius, in action variances. DeFlow advises 0.1 for fine manipulation and 1 for
navigation; the estimate errs upwards on sparse data, so the room left lies below."""
RADIUS_LIMITS = (1e-5, 1.0)
"""Root mean square displacements of 0.003, which changes nothing, and of half the action range."""


def proposed_kl_radius(source: Any) -> Real:
    """A range of the radius around what the data leave room for: the variance of actions where states are alike.

    Source: DeFlow, arXiv 2601.10471, whose bound is the same mean square displacement.

    Args:
        source: the opened dataset.

    Raises:
        UserError: the dataset is too small to tell.
    """
    from ..trainables.data.action_variance import action_variance  # reads arrays

    found = action_variance(source)
    least, most = RADIUS_LIMITS
    low = min(max(ROOM[0] * found.mean, least), most / 10)
    high = min(max(ROOM[1] * found.mean, 10 * low), most)
    margin = "" if found.std_error is None else f" ± {1.96 * found.std_error:.2g}"
    return Real(
        low=float(f"{low:.2g}"),
        high=float(f"{high:.2g}"),
        log=True,
        reason=f"{ROOM[0]:g} to {ROOM[1]:g} times the variance of actions at alike states, {found.mean:.3g}{margin} "
        "per entry; DeFlow takes 0.1 to 1 times",
    )


def auto(source: Any) -> Space:
    """The default space with the range of the radius made from the data."""
    return {"refine.kl_radius": proposed_kl_radius(source), "refine.residual_scale": RESIDUAL_SCALE}


def joint_auto(source: Any) -> Space:
    """The same for `fidec-joint`."""
    return {"joint.kl_radius": proposed_kl_radius(source)}


SPACES: dict[str, Space | Proposal] = {
    "auto": auto,
    "default": {"refine.kl_radius": KL_RADIUS, "refine.residual_scale": RESIDUAL_SCALE},
    "fine": {"refine.kl_radius": FINE_KL_RADIUS, "refine.residual_scale": RESIDUAL_SCALE},
    "kl_radius_only": {"refine.kl_radius": KL_RADIUS},
    "fisher": {
        "refine.kl_radius": KL_RADIUS,
        "refine.residual_scale": RESIDUAL_SCALE,
        "pools.fisher_time": FISHER_TIME,
        "pools.fisher_scope": FISHER_SCOPE,
    },
    "rates": {
        "refine.kl_radius": KL_RADIUS,
        "refine.residual_scale": RESIDUAL_SCALE,
        "refine.residual_learning_rate": RESIDUAL_LEARNING_RATE,
        "refine.critic_learning_rate": CRITIC_LEARNING_RATE,
    },
    "critic": {
        "refine.kl_radius": KL_RADIUS,
        "refine.q_aggregation": Q_AGGREGATION,
        "refine.discount": DISCOUNT,
    },
}

FISHER_SAMPLES = Choice(
    values=(4, 8),
    reason="the public code's default and what its run scripts pass; each sample costs a flow sample",
)

JOINT_SPACES: dict[str, Space | Proposal] = {
    "auto": joint_auto,
    "default": {"joint.kl_radius": KL_RADIUS},
    "fine": {"joint.kl_radius": FINE_KL_RADIUS},
    "fisher": {
        "joint.kl_radius": KL_RADIUS,
        "joint.fisher_time": FISHER_TIME,
        "joint.fisher_samples": FISHER_SAMPLES,
    },
    "critic": {
        "joint.kl_radius": KL_RADIUS,
        "joint.q_aggregation": Q_AGGREGATION,
        "joint.discount": DISCOUNT,
    },
}
"""Of `fidec-joint`, where every trial trains its own flow as well."""
