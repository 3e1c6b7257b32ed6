"""The stages of the baselines as the platform sees them. Free of torch: learners are loaded when a stage starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from ..base import Cost, StageConfig
from ..cost import network_size, updates_s
from ..data.dataset import DatasetInfo
from ..fidec.config import PretrainConfig
from ..fidec.cost import velocity_size
from ..offline_stage import EVALUATION, OfflineStage
from .config import ActorCriticConfig, DistillConfig, OfflineConfig, ValueConfig

TD = {
    "critic_loss": "mean square TD error over batch and critics",
    "td_error": "mean absolute TD error over batch and critics",
}


class Distill(OfflineStage[DistillConfig]):
    """FQL's critics and one-step policy over the frozen flow."""

    name = "distill"
    config_type = DistillConfig
    metrics = {  # noqa: RUF012
        **TD,
        "distillation_loss": "mean square distance of the one-step policy's actions from the flow's, per action entry",
        "q_mean": "mean critic value of the policy's actions; rising is normal while values propagate",
        "boundary_share": "share of the policy's action entries at the action box",
        **EVALUATION,
    }

    def learner(self):
        from .fql import DistillLearner

        return DistillLearner

    def policy(self, lanes, outputs, device):
        from .fql import stored_policy

        return stored_policy(outputs, device)

    def estimate(self, configs: Mapping[str, StageConfig], data: DatasetInfo) -> Cost:
        """A flow sample, the policy at both states, and the critics once there, trained here and climbed here."""
        config = cast(DistillConfig, configs["distill"])
        flow = _flow_sample(configs, data)
        policy = network_size(config.hidden, data.observation_dim + data.action_dim, data.action_dim)
        critics = _critics(config, data)
        return _cost(config, flow + (1 + 3) * policy + (1 + 3 + 2) * critics, policy + critics)


class Value(OfflineStage[ValueConfig]):
    """IFQL's state value and critics; the policy ranks samples of the frozen flow."""

    name = "value"
    config_type = ValueConfig
    metrics = {  # noqa: RUF012
        **TD,
        "value_loss": "mean expectile loss of the state value",
        "v_mean": "mean state value; above q_mean when the expectile is above 0.5",
        "q_mean": "mean value of the data's actions under the smaller target critic",
        "advantage_positive": "share of the data's actions whose value is above the state's",
        **EVALUATION,
    }

    def learner(self):
        from .ifql import ValueLearner

        return ValueLearner

    def policy(self, lanes, outputs, device):
        from .ifql import stored_policy

        return stored_policy(outputs, device)

    def estimate(self, configs: Mapping[str, StageConfig], data: DatasetInfo) -> Cost:
        """The state value trained here and read there, the critics trained and their copies read here."""
        config = cast(ValueConfig, configs["value"])
        value = network_size(config.hidden, data.observation_dim, 1)
        critics = _critics(config, data)
        flow = velocity_size(cast(PretrainConfig, configs["pretrain"]), data)
        return _cost(config, (3 + 1) * value + (3 + 1) * critics, value + critics + flow)


class ActorCritic(OfflineStage[ActorCriticConfig]):
    """ReBRAC: critics and a deterministic actor, from the dataset alone."""

    name = "actor_critic"
    config_type = ActorCriticConfig
    metrics = {  # noqa: RUF012
        **TD,
        "target_distance": "mean squared distance of the target actor's noisy action from the data's next action, "
        "summed over action entries; 0 where the episode ends",
        "q_mean": "mean value of the actor's actions under the smaller critic, as of the actor's newest update",
        "actor_distance": "mean squared distance of the actor's action from the data's, summed over action entries",
        "boundary_share": "share of the actor's action entries beyond 0.99 in size",
        **EVALUATION,
    }

    def learner(self):
        from .rebrac import ActorCriticLearner

        return ActorCriticLearner

    def policy(self, lanes, outputs, device):
        from .rebrac import stored_policy

        return stored_policy(outputs, device)

    def estimate(self, configs: Mapping[str, StageConfig], data: DatasetInfo) -> Cost:
        """The critics read there and trained here; the actor read there, and trained through them now and then."""
        config = cast(ActorCriticConfig, configs["actor_critic"])
        actor = network_size(config.hidden, data.observation_dim, data.action_dim)
        critics = _critics(config, data)
        share = 1 / config.actor_delay
        return _cost(config, (1 + 3 * share) * actor + (1 + 3 + 2 * share) * critics, actor + critics)


def _critics(config: OfflineConfig, data: DatasetInfo) -> int:
    return 2 * network_size(config.hidden, data.observation_dim + data.action_dim, 1)


def _flow_sample(configs: Mapping[str, StageConfig], data: DatasetInfo) -> int:
    config = cast(PretrainConfig, configs["pretrain"])
    evaluations = config.flow_steps * (2 if config.solver == "midpoint" else 1)
    return evaluations * velocity_size(config, data)


def _cost(config: OfflineConfig, per_row: float, parameters: int) -> Cost:
    return Cost(updates_s(config.steps, per_row * config.batch_size), disk_bytes=4 * parameters)
