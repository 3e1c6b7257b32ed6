"""Complete configurations by name."""

from __future__ import annotations

from collections.abc import Mapping

from ..base import StageConfig
from ..safe_rl import PUBLISHED
from ..safe_rl.config import WarmupConfig
from .config import AlgdConfig


def default() -> Mapping[str, StageConfig]:
    """Ours: sized for a CPU core, with the multiplier and the score target that hold their promises."""
    return {"warmup": WarmupConfig(), "train": AlgdConfig()}


def paper() -> Mapping[str, StageConfig]:
    """The public code's choices in its sizes (variance-exploding variant); its warm-up acts with an untrained policy."""
    train = AlgdConfig(
        **{**PUBLISHED, "policy_hidden": (128,) * 3},
        critic_learning_rate=3e-4,
        cost_learning_rate=3e-4,
        policy_learning_rate=3e-4,
        rho=1.0,
        score_estimator="gradient",
        score_target="action",
        score_clip=1e9,
    )
    return {"warmup": WarmupConfig(steps=5000), "train": train}


def cpu() -> Mapping[str, StageConfig]:
    """The public code's choices at small networks, small batches and one update per step."""
    stages = paper()
    small = {"hidden": (64, 64), "policy_hidden": (64,) * 3, "batch_size": 64, "updates_per_step": 1}
    return {
        "warmup": WarmupConfig(),
        "train": stages["train"].model_copy(update={**small, "target_every": 1, "steps": 10_000}),
    }


PRESETS = {"default": default, "paper": paper, "cpu": cpu}
