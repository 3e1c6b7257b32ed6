"""Where flowsweep keeps what it makes on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The root of caches, stage artifacts, sweeps and records: ``$FLOWSWEEP_HOME``, else ``~/.flowsweep``."""
    return Path(os.environ.get("FLOWSWEEP_HOME") or "~/.flowsweep").expanduser().resolve()


def dataset_cache() -> Path:
    """Where flat datasets are kept: ``$FLOWSWEEP_DATASET_CACHE``, a folder of each node's own, else in the home."""
    own = os.environ.get("FLOWSWEEP_DATASET_CACHE")
    return Path(own).expanduser().resolve() if own else home() / "datasets"
