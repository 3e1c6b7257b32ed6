"""Off-policy safe reinforcement learning: what its methods share, and two of them to compare with.

SAC-Lagrangian and CAL are here, one file each; ALGD stands in :mod:`..algd`. All start from the same ``warmup`` stage,
so that one set of random transitions serves every trial of every method in the same environment.
"""

from __future__ import annotations

from ..base import System
from ..envs.constrained_names import open_environment
from .config import CalConfig, SacLagrangianConfig, WarmupConfig
from .stages import Cal, SacLagrangian, Warmup

PUBLISHED = {
    "updates_per_step": 10,
    "batch_size": 256,
    "hidden": (256, 256),
    "policy_hidden": (256, 256),
    "target_every": 2,
    "dual": "adam_log",
    "dual_signal": "replay",
    "dual_learning_rate": 3e-4,
    "dual_start": 0.6931,
    "dual_max": 1e6,
    "normalize": False,
    "steps": 100_000,
}
"""Sizes and dual of the public off-policy code (ZifanWu/CAL), from which the public ALGD code descends."""

SAC_LAGRANGIAN = System(
    name="sac-lagrangian",
    title="Soft actor-critic with a Lagrange multiplier",
    reference="arXiv 2002.08550 and arXiv 1801.01290",
    learns_from="environment",
    stages=(Warmup(), SacLagrangian()),
    open_source=open_environment,
    presets={
        "default": lambda: {"warmup": WarmupConfig(), "train": SacLagrangianConfig()},
        "published": lambda: {
            "warmup": WarmupConfig(steps=5000),
            "train": SacLagrangianConfig(**PUBLISHED),
        },
    },
)

CAL = System(
    name="cal",
    title="Conservative augmented Lagrangian",
    reference="arXiv 2401.14758",
    learns_from="environment",
    stages=(Warmup(), Cal()),
    open_source=open_environment,
    presets={
        "default": lambda: {"warmup": WarmupConfig(), "train": CalConfig()},
        "published": lambda: {"warmup": WarmupConfig(steps=5000), "train": CalConfig(**PUBLISHED)},
    },
)
