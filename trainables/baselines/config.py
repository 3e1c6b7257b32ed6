"""What can be set in the stages of the baselines, with ranges, defaults and meaning. Free of torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..base import StageConfig
from ..config import lane_field

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(min_length=1, max_length=8)]


class OfflineConfig(StageConfig):
    """What the value-based stages of all baselines have in common; the defaults are those of FiDec's refinement."""

    steps: int = Field(default=20_000, gt=0)
    """Gradient updates."""
    batch_size: int = Field(default=256, ge=1, le=65_536)
    """Transitions per update, drawn uniformly with replacement."""
    hidden: Widths = (256, 256)
    """Widths of the hidden layers of every network of this stage."""
    discount: float = lane_field(0.99, ge=0, lt=1)
    """Discount of future reward."""
    critic_learning_rate: float = lane_field(3e-4, gt=0, le=1)
    """Adam's step size for the two critics."""
    target_rate: float = lane_field(0.005, gt=0, le=1)
    """Share of the way the target copies follow their networks per update."""


class DistillConfig(OfflineConfig):
    """FQL: a one-step policy that imitates the frozen flow and climbs the critics."""

    policy_learning_rate: float = lane_field(3e-4, gt=0, le=1)
    """Adam's step size for the one-step policy."""
    alpha: float = lane_field(1.0, gt=0, le=1e6)
    """Weight of the distillation against Q. With `normalize_q` useful values lie in 0.03 to 10, without it in 3 to
    1000, depending on the reward's scale."""
    normalize_q: bool = True
    """Divide Q in the policy's loss by its mean absolute value, so that alpha does not depend on the reward's scale."""
    q_aggregation: Literal["mean", "min"] = "mean"
    """How the two critics become one value in the TD target; the policy always climbs the mean."""


class ValueConfig(OfflineConfig):
    """IFQL: the value of the best actions in the data, and the flow's samples ranked by it."""

    value_learning_rate: float = lane_field(3e-4, gt=0, le=1)
    """Adam's step size for the state value."""
    expectile: float = lane_field(0.9, gt=0, lt=1)
    """Which expectile of Q over the data's actions the state value is: 0.5 the mean, towards 1 the maximum."""
    action_samples: int = Field(default=32, ge=1, le=1024)
    """Samples of the flow among which the policy takes the one of highest Q; 1 is the flow itself."""

    def warnings(self) -> list[str]:
        """Settings that are allowed but cannot do what they seem to ask."""
        if self.action_samples == 1:
            return ["action_samples 1 leaves nothing to choose from: the policy is the imitating flow itself"]
        return []


class ActorCriticConfig(OfflineConfig):
    """ReBRAC: a deterministic actor, held near the data by a penalty on itself and one on the critics' target."""

    actor_learning_rate: float = lane_field(3e-4, gt=0, le=1)
    """Adam's step size for the actor."""
    actor_penalty: float = lane_field(0.01, ge=0, le=1e3)
    """Weight of the squared distance between the actor's and the data's action, against Q divided by its mean size."""
    critic_penalty: float = lane_field(0.01, ge=0, le=1e3)
    """Weight of the squared distance between the target actor's and the data's next action, taken off the value of
    the next state, in units of reward."""
    normalize_q: bool = True
    """Divide Q in the actor's loss by its mean absolute value."""
    actor_output_scale: float = Field(default=1.0, gt=0, le=1)
    """Factor on the actor's output layer as it is drawn; the public code starts it at 0.01, near the box's centre."""
    actor_delay: int = Field(default=2, ge=1, le=100)
    """Updates of the critics per update of the actor and of all target copies."""
    target_noise: float = lane_field(0.2, ge=0, le=2)
    """Standard deviation of the noise on the target actor's action."""
    target_noise_limit: float = lane_field(0.5, ge=0, le=2)
    """Largest noise on an action entry."""
    normalize_observations: bool = True
    """Scale every observation entry to zero mean and unit variance over the dataset."""
