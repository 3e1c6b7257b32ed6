"""What can be set in each stage of FiDec, with ranges, defaults and meaning. Free of torch."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from ..base import StageConfig
from ..config import lane_field

Widths = tuple[int, ...]

NOT_CLIPPED = {"gradient_norm": "`gradient_clip: none` leaves gradients as they are"}


def _widths(default: Widths = (256, 256)):
    return Field(default=default, min_length=1, max_length=8)


class _Checked(StageConfig):
    @model_validator(mode="after")
    def _positive_widths(self) -> Self:
        hidden = getattr(self, "hidden", (1,))
        if min(hidden) < 1 or max(hidden) > 8192:
            raise ValueError(f"hidden widths must lie between 1 and 8192, not {list(hidden)}")
        return self


class FlowFields(_Checked):
    """How a flow samples, and on what scale it reads states."""

    solver: Literal["midpoint", "euler"] = "midpoint"
    """How the flow is integrated when it samples; midpoint evaluates the network twice per step."""
    flow_steps: int = Field(default=5, ge=1, le=1000)
    """Integration steps per sample; 5 midpoint steps cost as much as 10 Euler steps."""
    normalize_observations: bool = True
    """Scale every observation entry to zero mean and unit variance over the dataset."""


class PretrainConfig(FlowFields):
    """Flow matching: the behaviour policy every refinement starts from."""

    steps: int = Field(default=20_000, gt=0)
    """Gradient updates of the flow."""
    batch_size: int = Field(default=256, ge=1, le=65_536)
    """Transitions per update, drawn uniformly with replacement."""
    learning_rate: float = lane_field(3e-4, gt=0, le=1)
    """Adam's step size for the velocity network."""
    hidden: Widths = _widths()
    """Widths of the velocity network's hidden layers."""
    validation_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of episodes held out to measure the validation loss; 0 trains on everything."""
    gradient_clip: Literal["module", "none"] = "module"
    """Limit the norm of the gradient, or leave it."""
    gradient_norm: float = Field(default=5.0, gt=0)
    """The limit, where there is one."""

    def unread(self) -> dict[str, str]:
        """See :class:`StageConfig`."""
        return super().unread() | (NOT_CLIPPED if self.gradient_clip == "none" else {})


class FisherFields(_Checked):
    """How Fisher matrices are estimated from samples of the flow."""

    fisher_scope: Literal["state", "local", "identity"] = "state"
    """One Fisher matrix per state (mean over samples), the rank-one matrix at each base action, or none at all
    (the identity, which is DeFlow's penalty)."""
    score_estimator: Literal["gaussian", "velocity"] = "gaussian"
    """(t v - x) / (1 - t), the score of the flow's marginal at time t; or v / (1 - t), the public code's."""
    fisher_point: Literal["noised", "clean"] = "noised"
    """Read the score at the sample carried to time t, or at the clean sample (the paper's listing)."""
    fisher_time: float = Field(default=0.9, gt=0, lt=1)
    """Flow time at which scores are read; towards 1 narrow directions weigh more and noise grows."""
    fisher_time_width: float = Field(default=0.05, ge=0, lt=1)
    """Scores are read at times uniform in [fisher_time - width, fisher_time]."""
    fisher_samples: int = Field(default=8, ge=1, le=256)
    """Samples the Fisher matrix of a state is averaged over."""
    clip_for_fisher: bool = False
    """Clip samples to the action box before reading scores, as the public code does; puts atoms on the box."""

    def unread(self) -> dict[str, str]:
        """See :class:`StageConfig`."""
        idle: dict[str, str] = {}
        if self.fisher_scope == "identity":
            names = ("score_estimator", "fisher_point", "fisher_time", "fisher_time_width")
            names += ("fisher_samples", "clip_for_fisher")
            idle = dict.fromkeys(names, "with `fisher_scope: identity` no score is read")
        elif self.fisher_scope == "local":
            idle = {
                "fisher_samples": "with `fisher_scope: local` each base action has the one score read at it"
            }
        return super().unread() | idle

    @model_validator(mode="after")
    def _times(self) -> Self:
        if self.fisher_time_width >= self.fisher_time:
            raise ValueError(
                f"fisher_time_width {self.fisher_time_width:g} must be below fisher_time {self.fisher_time:g}, "
                "since scores are read from their difference on; lower the width or raise the time"
            )
        return self


class PoolsConfig(FisherFields):
    """What every refinement of one flow can share: base actions and Fisher geometry of every state."""

    steps: int = Field(default=64, gt=0, le=65_536)
    """Chunks the pass over all states is divided into; the result does not depend on it."""
    base_actions: int = Field(default=8, ge=1, le=256)
    """Actions sampled from the flow and kept per state."""
    fisher_draw: Literal["shared", "own"] = "shared"
    """Read a state's Fisher matrix off the samples that are its base actions, or off others, as the public code does.
    With fewer samples than action entries a shared draw leaves directions free that a residual could learn to use."""

    def unread(self) -> dict[str, str]:
        """See :class:`StageConfig`."""
        idle = (
            {} if self.fisher_scope == "state" else {"fisher_draw": "one matrix per state is not estimated"}
        )
        return super().unread() | idle

    @property
    def samples(self) -> int:
        """Flow samples drawn per state."""
        if self.fisher_scope != "state":
            return self.base_actions
        if self.fisher_draw == "own":
            return self.base_actions + self.fisher_samples
        return max(self.base_actions, self.fisher_samples)


class RefinementFields(_Checked):
    """What critics and residual learn, what holds the residual, and how the result acts."""

    batch_size: int = Field(default=256, ge=1, le=65_536)
    """Transitions per update, drawn uniformly with replacement."""
    hidden: Widths = _widths()
    """Widths of the hidden layers of critics and residual."""
    kl_radius: float = lane_field(1e-3, gt=0, le=100)
    """Bound on the mean penalty. With `normalization: per_state_trace` or `dataset_trace` it is a mean square
    displacement per action entry, measured in the Fisher metric; with `none` it is nats."""
    residual_scale: float = lane_field(1.0, gt=0, le=100)
    """Factor on the residual network's output; with `residual_form: tanh` the largest displacement."""
    residual_form: Literal["linear", "tanh"] = "linear"
    """Displacement scale * f, or scale * tanh(f)."""
    zero_init: bool = True
    """Start the residual at zero, so that step 0 is exactly the base policy."""
    discount: float = lane_field(0.99, ge=0, lt=1)
    """Discount of future reward."""
    target_rate: float = lane_field(0.005, gt=0, le=1)
    """Share of the way the target critics follow the critics per update."""
    critic_members: int = Field(default=2, ge=1, le=64)
    """Critics in the ensemble."""
    q_aggregation: Literal["mean", "min"] = "mean"
    """How the ensemble becomes one value in the TD target; the residual always climbs the mean."""
    normalize_q: bool = True
    """Divide Q in the residual's loss by its mean absolute value, so that the balance against the penalty does
    not depend on the reward's scale."""
    constraint: Literal["lagrange", "fixed_alpha", "per_state_projection"] = "lagrange"
    """Hold the batch mean by a trained multiplier, weigh the penalty by a fixed `alpha_init`, or scale each
    state's displacement back onto the radius."""
    alpha_init: float = lane_field(10.0, gt=0, le=1e6)
    """The multiplier at step 0."""
    damping: Literal["relative", "absolute"] = "relative"
    """Whether `damping_value` counts in mean eigenvalues of the state's Fisher matrix or as it stands."""
    damping_value: float = lane_field(1e-2, ge=0, le=1e3)
    """Multiple of the identity added to the Fisher matrix."""
    normalization: Literal["per_state_trace", "dataset_trace", "none"] = "per_state_trace"
    """Divide the Fisher matrix by its own mean eigenvalue, state by state; by the mean over the dataset, so that
    states with loose data get more room than tight ones; or keep it, with the half of the second-order KL, so that
    the radius is in nats."""
    gradient_clip: Literal["module", "global", "none"] = "module"
    """Limit the gradient norm of each network, of all together, or of none."""
    gradient_norm: float = Field(default=5.0, gt=0)
    """The limit, where there is one."""

    test_policy: Literal["plain", "best_of_n", "iterated"] = "plain"
    """How the result acts: refine one base action; refine the best of `test_samples` base actions by mean Q; or
    refine `test_iterations` times over and take the best action met on the way, by mean Q."""
    test_samples: int = Field(default=10, ge=1, le=1024)
    """Base actions `best_of_n` chooses from."""
    test_iterations: int = Field(default=5, ge=1, le=100)
    """Times `iterated` refines an action."""

    def unread(self) -> dict[str, str]:
        """See :class:`StageConfig`."""
        idle: dict[str, str] = {}
        if self.constraint == "fixed_alpha":
            idle["kl_radius"] = (
                "`constraint: fixed_alpha` weighs the penalty by alpha_init and holds it to no radius"
            )
        if self.constraint == "per_state_projection":
            idle["alpha_init"] = "`constraint: per_state_projection` has no multiplier"
        if self.test_policy != "best_of_n":
            idle["test_samples"] = f"`test_policy: {self.test_policy}` does not choose among base actions"
        if self.test_policy != "iterated":
            idle["test_iterations"] = f"`test_policy: {self.test_policy}` refines once"
        return super().unread() | idle | (NOT_CLIPPED if self.gradient_clip == "none" else {})

    def warnings(self) -> list[str]:
        """Settings that are allowed but cannot do what they seem to ask."""
        reach = math.sqrt(self.kl_radius)
        if self.residual_form == "tanh" and self.residual_scale < reach:
            return [
                f"residual_scale {self.residual_scale:g} with the tanh form is below sqrt(kl_radius) = {reach:.3g}: "
                "an isotropic displacement never reaches the radius, so kl_radius has no effect"
            ]
        return []


class RefineConfig(RefinementFields):
    """Critics, a residual on the base actions, and a dual variable that holds it within the KL radius."""

    steps: int = Field(default=20_000, gt=0)
    """Gradient updates of critics, residual and dual."""
    critic_learning_rate: float = lane_field(3e-4, gt=0, le=1)
    """Adam's step size for the critics."""
    residual_learning_rate: float = lane_field(3e-4, gt=0, le=1)
    """Adam's step size for the residual."""
    dual_learning_rate: float = lane_field(1e-2, gt=0, le=1)
    """Adam's step size for log alpha: alpha can change by this share per update."""
    log_alpha_min: float = lane_field(-10.0, ge=-50, le=50)
    """Lower bound of log alpha; keeps a slack constraint from winding up."""
    log_alpha_max: float = lane_field(10.0, ge=-50, le=50)
    """Upper bound of log alpha."""
    base_actions: Literal["pool", "fresh"] = "pool"
    """Take base actions and Fisher geometry from the pools, or draw both anew from the frozen flow in every
    update, as the public code does."""

    def unread(self) -> dict[str, str]:
        """See :class:`StageConfig`."""
        if self.constraint == "lagrange":
            return super().unread()
        names = ("dual_learning_rate", "log_alpha_min", "log_alpha_max")
        return super().unread() | dict.fromkeys(
            names, f"`constraint: {self.constraint}` trains no multiplier"
        )

    @model_validator(mode="after")
    def _alpha_bounds(self) -> Self:
        if self.log_alpha_min >= self.log_alpha_max:
            raise ValueError(
                f"log_alpha_min {self.log_alpha_min:g} must be below log_alpha_max {self.log_alpha_max:g}; move one"
            )
        if self.constraint == "lagrange" and not (
            self.log_alpha_min <= math.log(self.alpha_init) <= self.log_alpha_max
        ):
            raise ValueError(
                f"alpha_init {self.alpha_init:g} must lie between exp(log_alpha_min) and exp(log_alpha_max), "
                f"{math.exp(self.log_alpha_min):.3g} and {math.exp(self.log_alpha_max):.3g}; move it or a bound"
            )
        return self
