"""Complete configurations by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base import StageConfig
from .config import PoolsConfig, PretrainConfig, RefineConfig
from .joint_config import JointConfig


def default() -> Mapping[str, StageConfig]:
    """Ours: sized for a CPU core, with the estimator and the dual that hold their promises."""
    return {"pretrain": PretrainConfig(), "pools": PoolsConfig(), "refine": RefineConfig()}


def official() -> Mapping[str, StageConfig]:
    """The public code's choices as its run scripts pass them."""
    return {
        "pretrain": PretrainConfig(
            steps=1_000_000,
            hidden=(512,) * 4,
            solver="euler",
            flow_steps=10,
            normalize_observations=False,
            validation_share=0.0,
        ),
        "pools": PoolsConfig(score_estimator="velocity", clip_for_fisher=True, fisher_draw="own"),
        "refine": RefineConfig(
            steps=1_000_000,
            hidden=(512,) * 4,
            zero_init=False,
            dual_learning_rate=3e-4,
            log_alpha_min=-50.0,
            log_alpha_max=50.0,
            damping="absolute",
            damping_value=1e-3,
            base_actions="fresh",
            gradient_clip="global",
        ),
    }


def paper() -> Mapping[str, StageConfig]:
    """The paper's listing: a local rank-one form whose score is read at the clean action, at time 0.8."""
    stages = dict(official())
    stages["pools"] = PoolsConfig(
        fisher_scope="local", fisher_point="clean", fisher_time=0.8, fisher_time_width=0.0
    )
    return stages


def deflow() -> Mapping[str, StageConfig]:
    """DeFlow (arXiv 2601.10471) in this harness: the default with the identity in place of the Fisher matrix."""
    return {**default(), "pools": PoolsConfig(fisher_scope="identity")}


def bc() -> Mapping[str, StageConfig]:
    """Behaviour cloning: the default, to be run `through: pretrain` and scored there."""
    return default()


PRESETS = {"default": default, "official": official, "paper": paper, "deflow": deflow, "bc": bc}


def joint(**sizes: Any) -> Mapping[str, StageConfig]:
    """The public code's choices where everything is trained together, sized for a CPU core unless told otherwise."""
    config = JointConfig(
        solver="euler",
        flow_steps=10,
        normalize_observations=False,
        score_estimator="velocity",
        clip_for_fisher=True,
        zero_init=False,
        damping="absolute",
        damping_value=1e-3,
        gradient_clip="global",
        **sizes,
    )
    return {"joint": config}


def joint_official() -> Mapping[str, StageConfig]:
    """The public code's choices as its run scripts pass them, in its sizes."""
    return joint(steps=1_000_000, hidden=(512,) * 4)


JOINT_PRESETS = {"default": joint, "official": joint_official}
