"""Robust diffusion posterior sampling: one prior, thousands of samplers over it, data with outliers.

The idea that robust likelihoods make gradient-based posterior samplers hold under outliers, the prior untouched, is
that of arXiv 2602.02045. The family of losses and where each sampler reads them are ours.
"""

from __future__ import annotations

from ..base import System
from .presets import PRESETS
from .source import open_source
from .stages import PosteriorStage, PriorStage

SYSTEM = System(
    name="rdps",
    title="Robust diffusion posterior sampling",
    reference="arXiv 2602.02045",
    stages=(PriorStage(), PosteriorStage()),
    open_source=open_source,
    presets=PRESETS,
    learns_from="problem",
)
