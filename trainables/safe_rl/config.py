"""What can be set in the stages of safe reinforcement learning, with ranges, defaults and meaning. Free of torch.

A step of these stages is one environment step; in ``train`` it is followed by ``updates_per_step`` gradient updates.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..base import StageConfig
from ..config import lane_field

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(min_length=1, max_length=8)]


class WarmupConfig(StageConfig):
    """Transitions of uniform actions, from which every trial of an environment and seed starts."""

    steps: int = Field(default=1000, gt=0)
    """Environment steps, without gradient updates."""


class SafeConfig(StageConfig):
    """What the methods have in common: critics of reward and cost, replay, and the multiplier."""

    steps: int = Field(default=10_000, gt=0)
    """Environment steps, each followed by `updates_per_step` gradient updates."""
    updates_per_step: int = Field(default=1, ge=1, le=100)
    """Gradient updates after every environment step (the update-to-data ratio)."""
    batch_size: int = Field(default=64, ge=1, le=65_536)
    """Transitions per update, drawn uniformly with replacement."""
    replay_capacity: int = Field(default=1_000_000, ge=1)
    """Newest transitions from which batches are drawn, those of the warm-up included."""
    hidden: Widths = (64, 64)
    """Widths of the hidden layers of every critic."""
    policy_hidden: Widths = (64, 64)
    """Widths of the hidden layers of the policy."""
    discount: float = lane_field(0.99, ge=0, lt=1)
    """Discount of future reward."""
    cost_discount: float = lane_field(0.99, ge=0, lt=1)
    """Discount of future cost."""
    critic_learning_rate: float = lane_field(1e-3, gt=0, le=1)
    """Adam's step size for the two reward critics."""
    cost_learning_rate: float = lane_field(1e-3, gt=0, le=1)
    """Adam's step size for the cost critics."""
    policy_learning_rate: float = lane_field(1e-3, gt=0, le=1)
    """Adam's step size for the policy."""
    target_rate: float = lane_field(0.005, gt=0, le=1)
    """Share of the way the target copies follow their critics whenever they move."""
    target_every: int = Field(default=1, ge=1, le=100)
    """Updates between two moves of the target copies."""
    cost_limit: float | None = lane_field(None, gt=0)
    """Largest cost per episode on average; the environment's own when null."""
    cost_critics: int = Field(default=4, ge=1, le=64)
    """Cost critics E, each with a target of its own; their spread says how unsure they are."""
    cost_margin: float = lane_field(1.0, ge=0, le=100)
    """Standard deviations k of the cost critics that are added to their mean; 1 critic has no spread."""
    normalize: bool = False
    """Divide Q by a running mean of its size and the cost by its limit, so that multiplier, rho and temperature mean
    the same in every environment; they are then to be chosen smaller (rho about 0.1, beta about 0.05)."""
    dual: Literal["alm", "pid", "adam_log"] = "alm"
    """How the multiplier moves: a projected step per environment step; the same with proportional and derivative
    parts; or Adam on its logarithm per gradient update, as the public codes do."""
    dual_signal: Literal["both", "episodes", "initial_states", "replay"] = "both"
    """What tells the violation: the newest training episodes, the cost critics at initial states, the larger of the
    two, or the cost critics over replayed rows, as the public codes do."""
    dual_learning_rate: float = lane_field(1e-4, gt=0, le=10)
    """Step size of the multiplier."""
    dual_start: float = lane_field(0.69, ge=0, le=1e6)
    """The multiplier at the beginning."""
    dual_max: float = lane_field(20.0, gt=0, le=1e9)
    """Largest multiplier."""
    dual_episodes: int = Field(default=5, ge=1, le=1000)
    """Newest training episodes whose mean cost tells the violation."""
    pid_proportional: float = lane_field(0.1, ge=0, le=1e3)
    """Weight of the violation itself in the multiplier of `pid`."""
    pid_derivative: float = lane_field(0.0, ge=0, le=1e3)
    """Weight of the rise of the violation since the last look, in the multiplier of `pid`."""

    def unread(self) -> dict[str, str]:
        """See :class:`StageConfig`."""
        idle = {}
        if self.cost_critics == 1:
            idle["cost_margin"] = "one cost critic has no spread"
        if self.dual != "pid":
            idle |= dict.fromkeys(
                ("pid_proportional", "pid_derivative"), f"`dual: {self.dual}` reads neither"
            )
        if self.dual_signal not in ("both", "episodes"):
            idle["dual_episodes"] = f"`dual_signal: {self.dual_signal}` looks at no episode"
        return idle


class SacLagrangianConfig(SafeConfig):
    """Soft actor-critic that minimises Q_cost times a multiplier besides."""

    cost_critics: int = Field(default=1, ge=1, le=64)
    """Cost critics E; the published method has one."""
    cost_margin: float = lane_field(0.0, ge=0, le=100)
    """Standard deviations k of the cost critics that are added to their mean."""
    dual_learning_rate: float = lane_field(1e-3, gt=0, le=10)
    """Step size of the multiplier, which here has no quadratic part to help it."""
    entropy_target: float | None = lane_field(None)
    """Entropy that the temperature is tuned to; minus the number of action entries when null."""
    entropy_learning_rate: float = lane_field(1e-3, gt=0, le=1)
    """Adam's step size for the logarithm of the temperature."""


class CalConfig(SacLagrangianConfig):
    """Conservative augmented Lagrangian: an upper bound on the cost, and a multiplier raised by the batch's violation."""

    cost_critics: int = Field(default=4, ge=1, le=64)
    """Cost critics E."""
    cost_margin: float = lane_field(0.5, ge=0, le=100)
    """Standard deviations k of the cost critics that are added to their mean; the authors' advice is 0.5."""
    dual_learning_rate: float = lane_field(1e-4, gt=0, le=10)
    """Step size of the multiplier."""
    convexity: float = lane_field(10.0, gt=0, le=1e6)
    """Weight c of the batch's mean violation in the multiplier max(0, lambda + c mean(Qc - h))."""
