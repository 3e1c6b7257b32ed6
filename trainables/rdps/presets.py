"""Complete configurations by name. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..base import StageConfig
from .config import PosteriorConfig, PriorConfig


def _default() -> Mapping[str, StageConfig]:
    return {"prior": PriorConfig(), "posterior": PosteriorConfig()}


def _exact() -> Mapping[str, StageConfig]:
    """For problems whose posterior is known: enough samples to tell two distributions apart, fewer problems."""
    return {
        "prior": PriorConfig(steps=1),
        "posterior": PosteriorConfig(
            steps=8, samples=256, problems_at_once=4, outliers="shift", outlier_size=100.0
        ),
    }


PRESETS: Mapping[str, Callable[[], Mapping[str, StageConfig]]] = {"default": _default, "exact": _exact}
