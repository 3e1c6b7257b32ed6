"""Methods FiDec is compared with, in the same harness: FQL, IFQL and ReBRAC.

FQL and IFQL start from FiDec's own `pretrain` stage, so that one flow serves all of them. Behaviour cloning is that
stage alone; DeFlow is FiDec's preset `deflow`.
"""

from __future__ import annotations

from ..base import StageConfig, System
from ..fidec import SYSTEM as FIDEC
from ..fidec.source import open_source
from .config import ActorCriticConfig, DistillConfig, ValueConfig
from .stages import ActorCritic, Distill, Value

PRETRAIN = FIDEC.stage("pretrain")
PUBLISHED = {"steps": 1_000_000, "hidden": (512,) * 4}
"""Sizes of the published flow methods on state-based tasks."""


def _pretrain(preset: str) -> StageConfig:
    return FIDEC.presets[preset]()["pretrain"]


FQL = System(
    name="fql",
    title="Flow Q-learning",
    reference="arXiv 2502.02538",
    stages=(PRETRAIN, Distill()),
    open_source=open_source,
    presets={
        "default": lambda: {"pretrain": _pretrain("default"), "distill": DistillConfig()},
        "official": lambda: {
            "pretrain": _pretrain("official"),
            "distill": DistillConfig(**PUBLISHED, alpha=10.0, normalize_q=False),
        },
    },
)

IFQL = System(
    name="ifql",
    title="Implicit flow Q-learning",
    reference="arXiv 2110.06169 with the policy of arXiv 2502.02538",
    stages=(PRETRAIN, Value()),
    open_source=open_source,
    presets={
        "default": lambda: {"pretrain": _pretrain("default"), "value": ValueConfig()},
        "official": lambda: {"pretrain": _pretrain("official"), "value": ValueConfig(**PUBLISHED)},
    },
)

REBRAC = System(
    name="rebrac",
    title="ReBRAC",
    reference="arXiv 2305.09836",
    stages=(ActorCritic(),),
    open_source=open_source,
    presets={
        "default": lambda: {"actor_critic": ActorCriticConfig()},
        "official": lambda: {
            "actor_critic": ActorCriticConfig(
                steps=1_000_000,
                batch_size=1024,
                hidden=(256,) * 3,
                critic_learning_rate=1e-3,
                actor_learning_rate=1e-3,
                normalize_observations=False,
                actor_output_scale=0.01,
            )
        },
    },
)
