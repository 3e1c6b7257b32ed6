"""What is worth searching in FiDec, with ranges and reasons."""

from __future__ import annotations

from .parameters import Choice, Real, Space

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
    reason="1 is the published method; with the linear form it sets how fast the residual moves, not how far",
)
FISHER_TIME = Choice(
    values=(0.8, 0.9, 0.95),
    reason="towards 1 narrow directions weigh as they should, but the score grows noisy; sources use 0.8, 0.9, 0.95",
)
FISHER_SCOPE = Choice(
    values=("state", "identity"),
    reason="whether the Fisher geometry earns its cost: identity is DeFlow's plain square penalty",
)
Q_AGGREGATION = Choice(
    values=("mean", "min"),
    reason="min guards against overestimated values, mean learns faster; published runs use both",
)
DISCOUNT = Choice(values=(0.98, 0.99, 0.995), reason="horizons of 50, 100 and 200 steps")

SPACES: dict[str, Space] = {
    "default": {"refine.kl_radius": KL_RADIUS, "refine.residual_scale": RESIDUAL_SCALE},
    "fine": {"refine.kl_radius": FINE_KL_RADIUS, "refine.residual_scale": RESIDUAL_SCALE},
    "kl_radius_only": {"refine.kl_radius": KL_RADIUS},
    "fisher": {
        "refine.kl_radius": KL_RADIUS,
        "refine.residual_scale": RESIDUAL_SCALE,
        "pools.fisher_time": FISHER_TIME,
        "pools.fisher_scope": FISHER_SCOPE,
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

JOINT_SPACES: dict[str, Space] = {
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
