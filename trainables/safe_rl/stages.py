"""The stages of safe reinforcement learning as the platform sees them. Free of torch.

A step of ``warmup`` is one environment step; a step of ``train`` is one environment step with its gradient updates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar, cast

from ..base import Cost, Lane, Learner, Snapshot, Source, Stage, StageConfig
from ..cost import network_size, updates_s
from ..envs.constrained_names import EnvironmentSource
from .config import CalConfig, SacLagrangianConfig, SafeConfig, WarmupConfig

C = TypeVar("C", bound=SafeConfig)

ENVIRONMENT_STEP_S = 2e-4
"""Of a MuJoCo walker with its books, on one core."""
COMMON = {
    "critic_loss": "mean square TD error of the reward critics",
    "cost_critic_loss": "mean square TD error of the cost critics",
    "cost_q_mean": "mean value of the cost critics at replayed actions; to be read against the limit h",
    "cost_q_std": "mean spread of the cost critics there",
    "q_mean": "mean of the smaller reward critic at the policy's actions",
    "cost_bound": "mean upper bound Qc^ at the policy's actions",
    "multiplier": "lambda",
    "effective_multiplier": "mean weight of the cost's gradient in the policy's loss",
    "active_share": "share of rows where that weight is above 0",
    "action_spread": "standard deviation of the policy's actions at one state, mean over entries and newest states",
    "action_saturation": "share of its action entries beyond 0.99 in size",
    "return": "sum of the rewards of an evaluation episode, the policy acting as it trains, noise and all",
    "cost": "sum of the costs of an evaluation episode",
    "discounted_cost": "discounted sum of the costs of an evaluation episode",
    "violation_rate": "share of evaluation episodes whose cost is above the limit",
    "episode_length": "environment steps of an evaluation episode",
    "cost_calibration": "Qc^ at initial states less the discounted cost that followed; below 0 where risk is underrated",
    "training_cost": "cost of all training episodes so far, the warm-up's left out",
    "training_violations": "training episodes above the limit so far",
    "training_episodes": "training episodes so far",
    "environment_steps": "environment steps so far, the warm-up's included",
}
ENTROPY = {
    "entropy": "mean entropy of the policy, estimated at its own actions",
    "temperature": "alpha, the weight of the entropy",
}


class Warmup(Stage[WarmupConfig]):
    """Transitions of uniform actions, shared by every trial of the same environment and seed."""

    name = "warmup"
    open_ended: ClassVar[bool] = True
    config_type = WarmupConfig
    metrics = {  # noqa: RUF012
        "reward": "mean reward of a step under uniform actions",
        "step_cost": "mean cost of a step under uniform actions",
        "return": "mean return of the newest finished episodes under uniform actions",
        "cost": "mean cost of those episodes",
    }

    def start(self, lanes: Sequence[Lane[WarmupConfig]], source: Source, device: str) -> Learner:
        from .warmup import WarmupLearner

        return WarmupLearner(lanes, cast(EnvironmentSource, source), device)

    def finished(
        self, lanes: Sequence[Lane[WarmupConfig]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        from .warmup import FinishedWarmup

        return FinishedWarmup(outputs, lanes[0].config.steps)

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        observations, actions = cast(EnvironmentSource, source).sizes
        steps = configs["warmup"].steps
        return Cost(steps * ENVIRONMENT_STEP_S, 4 * steps * (2 * observations + actions + 3))


class SafeStage(Stage[C]):
    """``train`` of one method."""

    name = "train"
    open_ended: ClassVar[bool] = True
    metrics = COMMON

    @abstractmethod
    def learner(self) -> type[Any]:
        """What trains it."""

    @abstractmethod
    def policies(self, outputs: Sequence[Snapshot], limit: Any, device: str) -> Any:
        """Networks and policies that stored outputs stand for."""

    @abstractmethod
    def policy_passes(self, config: C, policy: int, critics: int) -> float:
        """Multiply-adds per row of one update of the policy, given those of one pass of policy and all critics."""

    def start(self, lanes: Sequence[Lane[C]], source: Source, device: str) -> Learner:
        return self.learner()(lanes, cast(EnvironmentSource, source), device)

    def finished(
        self, lanes: Sequence[Lane[C]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        import torch

        from .finished import FinishedSafe
        from .learner import limits_of

        one = cast(EnvironmentSource, source).definition
        limits = [
            one.critic_limit(limit, lane.config.cost_discount)
            for limit, lane in zip(limits_of(lanes, one), lanes, strict=True)
        ]
        rebuilt, policies = self.policies(outputs, torch.tensor(limits, device=device), device)
        return FinishedSafe(lanes, outputs, rebuilt, policies, one, device)

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        """Environment steps, and per update the critics at both ends and the policy's own loss."""
        config = cast(C, configs["train"])
        observations, actions = cast(EnvironmentSource, source).sizes
        critic = network_size(config.hidden, observations + actions, 1)
        policy = network_size(config.policy_hidden, observations + actions, actions)
        critics = (2 + config.cost_critics) * critic
        per_row = (1 + 3) * critics + self.policy_passes(config, policy, critics)
        updates = config.steps * config.updates_per_step
        seconds = updates_s(updates, per_row * config.batch_size) + updates * self.overhead_s
        return Cost(config.steps * ENVIRONMENT_STEP_S + seconds, 4 * (2 * critics + policy))

    overhead_s: ClassVar[float] = 2.5e-3
    """Of one update, whatever its size."""


class SacLagrangian(SafeStage[SacLagrangianConfig]):
    """SAC-Lagrangian's training."""

    config_type = SacLagrangianConfig
    metrics = {**COMMON, **ENTROPY}  # noqa: RUF012

    def learner(self):
        from .sac_lagrangian import SacLagrangianLearner

        return SacLagrangianLearner

    def policies(self, outputs, limit, device):
        from .sac_lagrangian import stored_policies

        return stored_policies(outputs, limit, device)

    def policy_passes(self, config: SacLagrangianConfig, policy: int, critics: int) -> float:
        """The policy drawn there, trained here, and climbing the critics."""
        return 4 * policy + 2 * critics


class Cal(SafeStage[CalConfig]):
    """CAL's training."""

    config_type = CalConfig
    metrics = {**COMMON, **ENTROPY}  # noqa: RUF012

    def learner(self):
        from .cal import CalLearner

        return CalLearner

    def policies(self, outputs, limit, device):
        from .cal import stored_policies

        return stored_policies(outputs, limit, device)

    def policy_passes(self, config: CalConfig, policy: int, critics: int) -> float:
        """The policy drawn there, trained here, and climbing the critics."""
        return 4 * policy + 2 * critics
