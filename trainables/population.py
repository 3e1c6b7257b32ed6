"""What learners of P lanes share: one structure, stacked values, sums of metrics kept off the host.

Legend: P lanes, M metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch

from .base import Lane, Snapshot, StageConfig
from .config import is_lane_field
from .errors import Diverged, UserError
from .nets import Params

C = TypeVar("C", bound=StageConfig)


def shared_config(lanes: Sequence[Lane[C]]) -> C:
    """The configuration whose structural fields all lanes have in common.

    Raises:
        UserError: a field that shapes the program differs between lanes.
    """
    first = lanes[0].config
    for name in type(first).model_fields:
        values = [getattr(lane.config, name) for lane in lanes]
        if not is_lane_field(type(first), name) and any(value != values[0] for value in values):
            raise UserError(
                "must be equal for all lanes of one fused program",
                key=name,
                value=sorted(set(map(str, values))),
                fix="Run these trials as separate programs.",
            )
    return first


def lane_by_lane(function: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor) -> torch.Tensor:
    """A function of every lane's own scalar, [P] to [P].

    Exponentials over a whole vector round as its length says: a lane would differ from itself alone in the last bit.
    """
    return torch.stack([function(value) for value in values.unbind()])


def lane_values(lanes: Sequence[Lane], name: str, device: str | torch.device) -> torch.Tensor:
    """[P] float32, one scalar hyperparameter of every lane."""
    return torch.tensor([float(getattr(lane.config, name)) for lane in lanes], device=device)


def stacked(snapshots: Sequence[Snapshot], prefix: str, device: str | torch.device) -> Params:
    """Tensors ``prefix.*`` of every lane, stacked to [P, ...] with the prefix taken off."""
    lanes = [under(snapshot.tensors, prefix) for snapshot in snapshots]
    return {name: torch.stack([lane[name] for lane in lanes]).to(device) for name in lanes[0]}


def prefixed(params: Mapping[str, torch.Tensor], prefix: str) -> Params:
    """The tensors under ``prefix.``, detached."""
    return {f"{prefix}.{name}": value.detach() for name, value in params.items()}


def under(tensors: Mapping[str, torch.Tensor], prefix: str) -> Params:
    """The tensors named ``prefix.*``, with the prefix taken off."""
    return {
        name.removeprefix(prefix + "."): value
        for name, value in tensors.items()
        if name.startswith(prefix + ".")
    }


@torch.no_grad()
def restore(params: Params, tensors: Mapping[str, torch.Tensor], prefix: str) -> None:
    """Copy ``prefix.*`` into the parameters, in place."""
    for name, value in params.items():
        value.copy_(tensors[f"{prefix}.{name}"])


class MetricMeans:
    """Means over the updates of one advance, summed on the device and read once."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.count = 0
        self.total = torch.empty(0)

    def add(self, metrics: Mapping[str, torch.Tensor]) -> None:
        """Add one update's metrics, each [P]."""
        values = torch.stack([value.detach() for value in metrics.values()])
        if self.count == 0:
            self.names, self.total = tuple(metrics), values
        else:
            self.total += values
        self.count += 1

    def read(self, step: int) -> dict[str, list[float]]:
        """One mean per lane and metric.

        Raises:
            Diverged: a metric of some lane is not finite.
        """
        rows = (self.total / max(self.count, 1)).tolist()
        for name, row in zip(self.names, rows, strict=True):
            for lane, value in enumerate(row):
                if not math.isfinite(value):
                    raise Diverged(name if len(row) == 1 else f"{name} of lane {lane}", step)
        return dict(zip(self.names, rows, strict=True))
