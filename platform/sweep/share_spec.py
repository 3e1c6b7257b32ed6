"""What a stage's own workers have, where that is not what a trial has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from ...trainables.config import FrozenConfig


def _named(custom: Mapping[str, float]) -> Mapping[str, float]:
    for name in custom:
        if name.upper() in ("CPU", "GPU"):
            raise ValueError(f"`{name}` is `{name.lower()}s` beside it")
    return custom


def _whole(gpus: float) -> float:
    if 0 < gpus < LEAST_SHARE or (gpus > 1 and gpus != int(gpus)):
        raise ValueError("must be 0, a share of one GPU of at least 0.01, or a whole number")
    return gpus


LEAST_SHARE = 0.01
"""The smallest share of a resource that a process may ask for."""
Positive = Annotated[float, Field(ge=LEAST_SHARE)]
Gpus = Annotated[float, Field(ge=0), AfterValidator(_whole)]
Custom = Annotated[Mapping[str, Positive], AfterValidator(_named)]


class StageResources(FrozenConfig):
    """What each worker of a shared stage has to itself; where nothing is said, what a trial has."""

    cpus: float | None = Field(default=None, ge=LEAST_SHARE)
    """CPU cores."""
    gpus: Gpus | None = None
    """GPUs; fractions share one."""
    custom: Custom | None = None
    """Resources that nodes have by names of their own."""
    labels: Mapping[str, str] | None = None
    """Labels its node must have."""
