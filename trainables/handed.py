"""Secrets handed on to workers by a file of their owner's, past the daemons between, which would log them.

An object store's keys are in the driver's environment. The daemons that start workers get an environment without them, and
the name of a file; a worker takes them into its own environment before it does anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

HANDED = "FLOWSWEEP_HANDED_FILE"
"""Names the file: a JSON object of variables, readable by its owner alone."""


def hand_on(variables: Mapping[str, str], file: Path) -> dict[str, str]:
    """Write them down; the variables that those between get instead."""
    if not variables:
        return {}
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        json.dump(dict(variables), opened)
    return {HANDED: str(file)}


def take_up() -> None:
    """Take what was handed on into this process's environment, unless it has a value of its own there."""
    file = os.environ.get(HANDED)
    if not file:
        return
    with suppress(OSError, ValueError):  # gone with the driver that wrote it: this process ends soon as well
        for name, value in json.loads(Path(file).read_text(encoding="utf-8")).items():
            os.environ.setdefault(name, value)
