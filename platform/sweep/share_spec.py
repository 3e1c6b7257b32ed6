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


Positive = Annotated[float, Field(gt=0)]
Custom = Annotated[Mapping[str, Positive], AfterValidator(_named)]


class StageResources(FrozenConfig):
    """What each worker of a shared stage has to itself; where nothing is said, what a trial has."""

    cpus: float | None = Field(default=None, gt=0)
    """CPU cores."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs; fractions share one."""
    custom: Custom | None = None
    """Resources that nodes have by names of their own."""
    labels: Mapping[str, str] | None = None
    """Labels its node must have."""
