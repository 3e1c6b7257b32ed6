"""FiDec's three stages as the platform sees them. Free of torch: learners are loaded when a stage starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from ..base import Cost, StageConfig
from ..data.dataset import DatasetInfo
from ..offline_stage import EVALUATION, OfflineStage
from .config import PoolsConfig, PretrainConfig, RefineConfig
from .cost import FidecConfigs, joint_cost, pools_cost, pretrain_cost, refine_cost
from .findings import multiplier_findings, radius_findings
from .joint_config import JointConfig

REFINEMENT = {
    "critic_loss": "mean square TD error over batch and ensemble",
    "td_error": "mean absolute TD error over batch and ensemble",
    "q_mean": "mean critic value of the refined actions; rising is normal while values propagate",
    "q_max": "largest critic value of a refined action in a batch; running off, it shows overestimation",
    "penalty": "mean Fisher penalty of the displacement, the quantity bounded by kl_radius",
    "penalty_over_radius": "penalty divided by kl_radius: above 1 the bound is exceeded",
    "constraint_active": "share of updates with penalty above 0.9 kl_radius; of states, when projecting",
    "kl_nats": "second-order KL from the base policy: half the undamped, unnormalised quadratic form; "
    "absent under `fisher_scope: identity`, which estimates none",
    "alpha": "the multiplier of the penalty",
    "residual_rms": "root mean square displacement per action entry",
    "residual_max": "largest displacement of an action entry in a batch",
    "boundary_share": "share of refined action entries at the action box",
    "eigenvalue_spread": "largest over mean eigenvalue of the damped Fisher matrix: 1 isotropic, action size one-directional",
}


class Pretrain(OfflineStage[PretrainConfig]):
    """The behaviour policy as a flow."""

    name = "pretrain"
    spread = "data_parallel"
    config_type = PretrainConfig
    metrics = {  # noqa: RUF012
        "loss": "mean square error of the velocity on training batches (flow matching)",
        "validation_loss": "the same on held-out episodes, at the end of the reported updates; absent without them",
        "gradient_norm": "norm of the velocity network's gradient before clipping",
        **EVALUATION,
    }

    def learner(self):
        from .pretrain import PretrainLearner

        return PretrainLearner

    def policy(self, lanes, outputs, device):
        from .learner import flow_from
        from .policy import BasePolicy

        return BasePolicy(flow_from(outputs, device))

    def estimate(self, configs: Mapping[str, StageConfig], data: DatasetInfo) -> Cost:
        return pretrain_cost(cast(PretrainConfig, configs["pretrain"]), data)


class PoolsStage(OfflineStage[PoolsConfig]):
    """Base actions and Fisher geometry of every state, shared by all refinements of one flow."""

    open_ended = False  # a pool is whole only at its end
    name = "pools"
    spread = "shards"
    config_type = PoolsConfig
    metrics = {  # noqa: RUF012
        "boundary_share": "share of base-action entries at or beyond the action box",
        "fisher_trace": "mean trace of the states' Fisher matrices",
        "eigenvalue_spread": "largest over mean eigenvalue of a state's Fisher matrix: 1 isotropic, action size one-directional",
        **EVALUATION,
    }

    def identity(self, config, upstream_keys, source_fingerprint, seed):
        """As for any stage, less what its result does not depend on: how the pass is cut, and what is not read."""
        identity = super().identity(config, upstream_keys, source_fingerprint, seed)
        for field in ("steps", *config.unread()):
            identity["config"].pop(field)
        return identity

    def learner(self):
        from .pools import PoolsLearner

        return PoolsLearner

    def policy(self, lanes, outputs, device):
        from ..offline import upstream
        from .learner import flow_from
        from .policy import BasePolicy

        return BasePolicy(flow_from(upstream(lanes, "pretrain"), device))

    def estimate(self, configs: Mapping[str, StageConfig], data: DatasetInfo) -> Cost:
        return pools_cost(FidecConfigs.of(configs), data)


class Refine(OfflineStage[RefineConfig]):
    """Critics, residual and dual over the frozen flow."""

    name = "refine"
    config_type = RefineConfig
    metrics = {**REFINEMENT, **EVALUATION}  # noqa: RUF012

    def learner(self):
        from .refine import RefineLearner

        return RefineLearner

    def policy(self, lanes, outputs, device):
        from .refine import stored_policy

        return stored_policy(outputs, device)

    def findings(self, trials, searched):
        """Which of radius, multiplier and residual was at work."""
        return [*radius_findings(trials, searched), *multiplier_findings(trials)]

    def estimate(self, configs: Mapping[str, StageConfig], data: DatasetInfo) -> Cost:
        return refine_cost(FidecConfigs.of(configs), data)


class Joint(OfflineStage[JointConfig]):
    """Flow, critics, residual and dual in one update, as published."""

    name = "joint"
    config_type = JointConfig
    metrics = {  # noqa: RUF012
        "flow_loss": "mean square error of the velocity on training batches (flow matching)",
        **REFINEMENT,
        **EVALUATION,
    }

    def learner(self):
        from .joint import JointLearner

        return JointLearner

    def policy(self, lanes, outputs, device):
        from .joint import stored_policy

        return stored_policy(outputs, device)

    def findings(self, trials, searched):
        """Whether the radius was at work; nothing bounds the multiplier here."""
        return radius_findings(trials, searched)

    def estimate(self, configs: Mapping[str, StageConfig], data: DatasetInfo) -> Cost:
        return joint_cost(cast(JointConfig, configs["joint"]), data)
