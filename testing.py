"""For whoever writes a system: the promises of a learner as tests of one's own.

::

    import pytest
    from flowsweep import testing
    from mine import SYSTEM

    @pytest.mark.parametrize("check", testing.checks(SYSTEM), ids=str)
    def test_contract(check):
        check()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .trainables.base import Source, System
    from .trainables.contract import Check

__all__ = ["checks"]


def checks(
    system: System | str,
    source: Source | str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    steps: int = 6,
    episodes: int = 2,
    device: str = "cpu",
) -> list[Check]:
    """Every promise of every stage of a system, to be called one by one.

    Args:
        system: a system, the name of a registered one, or ``PATH.py:NAME``.
        source: what it learns from, opened or by name; not for systems that learn from nothing named.
        settings: by stage, what differs from the preset ``default``: small networks make the checks quick.
        steps: of every stage that ``settings`` gives no number of.
        episodes: of each evaluation; 0 leaves out what is about evaluations.
        device: torch device.

    Raises:
        UserError: the system cannot be loaded, or the source is no such.
    """
    from pathlib import Path

    from .trainables.base import load_system
    from .trainables.contract import CONTRACT, SCORED, Check, benches
    from .trainables.user_code.code import names_code, read_code
    from .trainables.user_code.system import system_of

    if isinstance(system, str):
        by_file = names_code(system)
        system = system_of(read_code(system, Path.cwd())) if by_file else load_system(system)
    opened: Any = system.open_source(source or "") if source is None or isinstance(source, str) else source
    found = benches(system, opened, settings or {}, steps, episodes, device)
    return [
        Check(bench, promise) for bench in found for promise in CONTRACT if episodes or promise not in SCORED
    ]
