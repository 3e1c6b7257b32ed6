"""Where flowsweep keeps what it makes on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The root of caches, stage artifacts, sweeps and records: ``$FLOWSWEEP_HOME``, else ``~/.flowsweep``."""
    return Path(os.environ.get("FLOWSWEEP_HOME") or "~/.flowsweep").expanduser().resolve()
