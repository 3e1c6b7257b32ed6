"""Importing simulators where nothing is drawn and nobody reads their greetings."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drop warnings and whatever is printed to standard error."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def gymnasium_with_robotics() -> Any:
    """gymnasium, with the environments of gymnasium-robotics registered."""
    os.environ.setdefault("MUJOCO_GL", "disabled")  # must precede the first import of mujoco
    import gymnasium

    with silence():
        import gymnasium_robotics
    gymnasium.register_envs(gymnasium_robotics)
    return gymnasium


def ogbench_package() -> Any:
    """ogbench, whose import registers its environments."""
    os.environ.setdefault("MUJOCO_GL", "disabled")  # must precede the first import of mujoco
    with silence():
        import ogbench
    return ogbench
