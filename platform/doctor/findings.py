"""What a check of this installation has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "info", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        check: what was looked at, one word.
        level: ``ok``; ``info`` (something optional is not there); ``warning`` (sweeps run, but look into it);
            ``problem`` (sweeps will fail, or the machine is open to others).
        what: what was found, in words.
        fix: what to do; empty when there is nothing to do.
    """

    check: str
    level: Level
    what: str
    fix: str = ""
