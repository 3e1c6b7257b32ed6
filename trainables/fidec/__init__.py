"""FiDec: a flow policy pretrained once, refined many times inside a Fisher trust region."""

from __future__ import annotations

from ..base import System
from .presets import PRESETS
from .source import open_source
from .stages import PoolsStage, Pretrain, Refine

SYSTEM = System(
    name="fidec",
    title="Fisher Decorator",
    reference="arXiv 2604.17919",
    stages=(Pretrain(), PoolsStage(), Refine()),
    open_source=open_source,
    presets=PRESETS,
)
