"""FiDec's three stages as the platform sees them. Free of torch: learners are loaded when a stage starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from ..base import Cost, Lane, Learner, Snapshot, Source, Stage, StageConfig
from ..data.dataset import FlatDataset
from .config import PoolsConfig, PretrainConfig, RefineConfig
from .cost import FidecConfigs, joint_cost, pools_cost, pretrain_cost, refine_cost
from .joint_config import JointConfig

EVALUATION = {
    "success_rate": "share of evaluation episodes that reached success",
    "return": "undiscounted sum of rewards per evaluation episode",
    "normalized_score": "return on the scale of the dataset's reference scores, 0 to 100; absent where it names none",
    "episode_length": "environment steps per evaluation episode",
}
REFINEMENT = {
    "critic_loss": "mean square TD error over batch and ensemble",
    "td_error": "mean absolute TD error over batch and ensemble",
    "q_mean": "mean critic value of the refined actions; rising is normal while values propagate",
    "penalty": "mean Fisher penalty of the displacement, the quantity bounded by kl_radius",
    "penalty_over_radius": "penalty divided by kl_radius: above 1 the bound is exceeded",
    "constraint_active": "share of updates with penalty above 0.9 kl_radius; of states, when projecting",
    "kl_nats": "second-order KL from the base policy: half the undamped, unnormalised quadratic form",
    "alpha": "the multiplier of the penalty",
    "residual_rms": "root mean square displacement per action entry",
    "residual_max": "largest displacement of an action entry in a batch",
    "boundary_share": "share of refined action entries at the action box",
}


class Pretrain(Stage[PretrainConfig]):
    """The behaviour policy as a flow."""

    name = "pretrain"
    config_type = PretrainConfig
    metrics = {  # noqa: RUF012
        "loss": "mean square error of the velocity on training batches (flow matching)",
        "validation_loss": "the same on held-out episodes, at the end of the reported updates; absent without them",
        "gradient_norm": "norm of the velocity network's gradient before clipping",
        **EVALUATION,
    }

    def start(self, lanes: Sequence[Lane[PretrainConfig]], source: Source, device: str) -> Learner:
        from .pretrain import PretrainLearner

        return PretrainLearner(lanes, cast(FlatDataset, source), device)

    def finished(
        self, lanes: Sequence[Lane[PretrainConfig]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        from ..offline import FinishedLearner
        from .learner import flow_from
        from .policy import BasePolicy

        policy = BasePolicy(flow_from(outputs, device))
        return FinishedLearner(lanes, outputs, cast(FlatDataset, source), device, policy)

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        return pretrain_cost(cast(PretrainConfig, configs["pretrain"]), cast(FlatDataset, source).info)


class PoolsStage(Stage[PoolsConfig]):
    """Base actions and Fisher geometry of every state, shared by all refinements of one flow."""

    name = "pools"
    config_type = PoolsConfig
    metrics = {  # noqa: RUF012
        "boundary_share": "share of base-action entries at or beyond the action box",
        "fisher_trace": "mean trace of the states' Fisher matrices",
        "eigenvalue_spread": "largest over mean eigenvalue of a state's Fisher matrix: 1 isotropic, action size one-directional",
        **EVALUATION,
    }

    def identity(self, config, upstream_keys, dataset_fingerprint, seed):
        """As for any stage, less ``steps``: how the pass is cut into chunks does not change its result."""
        identity = super().identity(config, upstream_keys, dataset_fingerprint, seed)
        identity["config"].pop("steps")
        return identity

    def start(self, lanes: Sequence[Lane[PoolsConfig]], source: Source, device: str) -> Learner:
        from .pools import PoolsLearner

        return PoolsLearner(lanes, cast(FlatDataset, source), device)

    def finished(
        self, lanes: Sequence[Lane[PoolsConfig]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        from ..offline import FinishedLearner, upstream
        from .learner import flow_from
        from .policy import BasePolicy

        policy = BasePolicy(flow_from(upstream(lanes, "pretrain"), device))
        return FinishedLearner(lanes, outputs, cast(FlatDataset, source), device, policy)

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        return pools_cost(FidecConfigs.of(configs), cast(FlatDataset, source).info)


class Refine(Stage[RefineConfig]):
    """Critics, residual and dual over the frozen flow."""

    name = "refine"
    config_type = RefineConfig
    metrics = {**REFINEMENT, **EVALUATION}  # noqa: RUF012

    def start(self, lanes: Sequence[Lane[RefineConfig]], source: Source, device: str) -> Learner:
        from .refine import RefineLearner

        return RefineLearner(lanes, cast(FlatDataset, source), device)

    def finished(
        self, lanes: Sequence[Lane[RefineConfig]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        from ..offline import FinishedLearner
        from .refine import stored_policy

        policy = stored_policy(outputs, device)
        return FinishedLearner(lanes, outputs, cast(FlatDataset, source), device, policy)

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        return refine_cost(FidecConfigs.of(configs), cast(FlatDataset, source).info)


class Joint(Stage[JointConfig]):
    """Flow, critics, residual and dual in one update, as published."""

    name = "joint"
    config_type = JointConfig
    metrics = {  # noqa: RUF012
        "flow_loss": "mean square error of the velocity on training batches (flow matching)",
        **REFINEMENT,
        **EVALUATION,
    }

    def start(self, lanes: Sequence[Lane[JointConfig]], source: Source, device: str) -> Learner:
        from .joint import JointLearner

        return JointLearner(lanes, cast(FlatDataset, source), device)

    def finished(
        self, lanes: Sequence[Lane[JointConfig]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        from ..offline import FinishedLearner
        from .joint import stored_policy

        policy = stored_policy(outputs, device)
        return FinishedLearner(lanes, outputs, cast(FlatDataset, source), device, policy)

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        return joint_cost(cast(JointConfig, configs["joint"]), cast(FlatDataset, source).info)
