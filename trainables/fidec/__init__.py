"""FiDec: a flow policy pretrained once, refined many times inside a Fisher trust region.

``SYSTEM`` works in stages that trials share; ``JOINT_SYSTEM`` trains everything together, as published.
"""

from __future__ import annotations

from ..base import System
from .presets import JOINT_PRESETS, PRESETS
from .source import open_source
from .stages import Joint, PoolsStage, Pretrain, Refine

SYSTEM = System(
    name="fidec",
    title="Fisher Decorator",
    reference="arXiv 2604.17919",
    stages=(Pretrain(), PoolsStage(), Refine()),
    open_source=open_source,
    presets=PRESETS,
)

JOINT_SYSTEM = System(
    name="fidec-joint",
    title="Fisher Decorator, trained jointly",
    reference="arXiv 2604.17919",
    stages=(Joint(),),
    open_source=open_source,
    presets=JOINT_PRESETS,
)
