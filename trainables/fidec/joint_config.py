"""What can be set when everything is trained together. Free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ..config import lane_field
from .config import FisherFields, FlowFields, RefinementFields


class JointConfig(FlowFields, FisherFields, RefinementFields):
    """Flow, critics, residual and dual in one update, by one optimiser, with fresh samples."""

    steps: int = Field(default=20_000, gt=0)
    """Gradient updates of all networks."""
    learning_rate: float = lane_field(3e-4, gt=0, le=1)
    """Adam's step size for every network and for log alpha, which nothing bounds."""
    gelu: Literal["tanh", "exact"] = "tanh"
    """GELU by the approximation JAX libraries use, or exact, which is several times faster on CPU."""
    affine_norm: bool = True
    """Give the critics' layer normalisation its own scale and shift."""

    @field_validator("normalization")
    @classmethod
    def _without_a_frozen_flow(cls, value: str) -> str:
        # The trace would be of a flow that moves: the radius would mean something else in every update.
        if value == "dataset_trace":
            raise ValueError(
                "`dataset_trace` needs the mean trace of a frozen flow, and here the flow is trained along; use "
                "`per_state_trace` or `none`, or the system `fidec`"
            )
        return value
