"""The multiplier of the cost constraint: what tells the violation, and how the multiplier follows it.

A violation is relative: cost / limit - 1, so that 0 is at the limit, -1 is no cost at all, 1 is twice the limit.

    alm        lambda <- clip(lambda + eta e, 0, max)                          per environment step
    pid        integral <- clip(integral + eta e, 0, max)                      (Stooke, Achiam and Abbeel, 2020)
               lambda <- clip(integral + p e + d max(0, e - e_before), 0, max)
    adam_log   log lambda climbs lambda e by Adam                              per gradient update (the public codes)

The first two read e cut to [-1, 1]: an early episode of ten times the limit says no more than that it violates.

Legend: P lanes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..nets import Params
from ..optimizers import PopulationAdam
from ..population import lane_by_lane

SMALLEST = 1e-8


class Dual:
    """Multipliers of P lanes.

    Args:
        kind: the rule.
        start, rate, largest, proportional, derivative: [P] the configuration's fields.
    """

    def __init__(
        self,
        kind: str,
        start: torch.Tensor,
        rate: torch.Tensor,
        largest: torch.Tensor,
        proportional: torch.Tensor,
        derivative: torch.Tensor,
    ):
        self.kind, self.rate, self.largest = kind, rate, largest
        self.proportional, self.derivative = proportional, derivative
        self.multiplier = start.clone()
        self.integral, self.before = start.clone(), torch.zeros_like(start)
        self._log: Params = {"log": lane_by_lane(torch.log, start.clamp_min(SMALLEST))}
        self._adam = PopulationAdam(self._log, rate.tolist(), apart=True)

    def move(self, violation: torch.Tensor) -> None:
        """One step of `alm` or `pid` for a relative violation [P]."""
        violation = violation.clamp(-1, 1)
        self.integral = torch.minimum((self.integral + self.rate * violation).clamp_min(0), self.largest)
        self.multiplier = self.integral
        if self.kind == "pid":
            rise = (violation - self.before).clamp_min(0)
            together = self.integral + self.proportional * violation + self.derivative * rise
            self.multiplier = torch.minimum(together.clamp_min(0), self.largest)
            self.before = violation

    @torch.no_grad()
    def climb(self, violation: torch.Tensor) -> None:
        """One step of `adam_log`: the gradient of lambda e in log lambda is lambda e."""
        self._adam.step({"log": -self.multiplier * violation})
        self._log["log"].clamp_(max=lane_by_lane(torch.log, self.largest))
        self.multiplier = lane_by_lane(torch.exp, self._log["log"])

    def tensors(self) -> Params:
        """Everything it needs to continue."""
        own = {"multiplier": self.multiplier, "integral": self.integral, "before": self.before}
        return {**own, **self._log, **{f"adam.{name}": v for name, v in self._adam.tensors().items()}}

    @property
    def adam_steps(self) -> int:
        """Steps of `adam_log` done."""
        return self._adam.steps

    @torch.no_grad()
    def load(self, tensors: Mapping[str, torch.Tensor], adam_steps: int) -> None:
        """Continue from :meth:`tensors`."""
        device = self.rate.device
        self.multiplier, self.integral, self.before = (
            tensors[name].to(device, copy=True) for name in ("multiplier", "integral", "before")
        )
        self._log["log"].copy_(tensors["log"])
        adam = {name.removeprefix("adam."): v for name, v in tensors.items() if name.startswith("adam.")}
        self._adam.load_tensors(adam, adam_steps)
