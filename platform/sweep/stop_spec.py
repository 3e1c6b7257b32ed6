"""The parts of the sweep file that say when a trial ends early and what a sweep may spend."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ...trainables.config import FrozenConfig


class Stop(FrozenConfig):
    """When an unpromising trial ends early."""

    rule: Literal["none", "asha", "median"] = "none"
    """`asha`: only the best share at each rung goes on. `median`: below the median of earlier trials stops."""
    min_steps: int = Field(default=1000, gt=0)
    """Steps of the objective's stage before a trial may be stopped; the first rung of `asha`."""
    grace_steps: int | None = Field(default=None, ge=0)
    """Steps of the objective's stage in which no rule stops a trial of a sweep with constraints: costs start high. A fifth
    of the stage when not given. Judging begins at this or `min_steps`, whichever is later."""
    reduction: int = Field(default=3, ge=2)
    """One trial in this many passes a rung of `asha`."""
    startup_trials: int = Field(default=4, ge=1)
    """Finished trials that `median` needs before it judges."""
    patience: int | None = Field(default=None, gt=0)
    """Evaluations in a row without a better objective after which a trial stops, whatever `rule` says."""
    min_delta: float = Field(default=0.0, ge=0)
    """What counts as better, for `patience`: by more than this, in units of the objective."""

    @property
    def first_step(self) -> int:
        """The first step at which a trial may be stopped by a rule or for want of patience."""
        return max(self.min_steps, self.grace_steps or 0)


class Budget(FrozenConfig):
    """What the search may spend; confirmations, whose number is known before, are not part of it."""

    steps: int | None = Field(default=None, gt=0)
    """Gradient updates, each seed counted; what is reused costs none."""
    core_hours: float | None = Field(default=None, gt=0)
    """CPU time of trials, as it is recorded everywhere."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """GPUs set aside for trials, times the hours they were at work."""
    wall_clock_h: float | None = Field(default=None, gt=0)
    """Hours the sweep has been running; pauses before a resume do not count."""
    trial_core_hours: float | None = Field(default=None, gt=0)
    """CPU time of one trial, the stages it computes for others included."""
    trial_wall_clock_h: float | None = Field(default=None, gt=0)
    """Hours one trial is at work; waiting for a stage that another trial computes does not count."""
    running: Literal["finish", "stop"] = "finish"
    """What trials under way do when the budget is spent: run to their end, or store their state and leave."""
