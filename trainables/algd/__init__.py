"""ALGD: off-policy safe reinforcement learning with a diffusion policy guided by an augmented Lagrangian."""

from __future__ import annotations

from ..base import System
from ..envs.constrained_names import open_environment
from ..safe_rl.stages import Warmup
from .presets import PRESETS
from .stages import Train

SYSTEM = System(
    name="algd",
    title="Augmented-Lagrangian-guided diffusion",
    reference="arXiv 2602.02924",
    learns_from="environment",
    stages=(Warmup(), Train()),
    open_source=open_environment,
    presets=PRESETS,
)
