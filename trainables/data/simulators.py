"""Importing simulators where nothing is drawn and nobody reads their greetings."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import Any

from ..errors import PackageMissing


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
    """ogbench, whose import registers its environments.

    Raises:
        PackageMissing: it is not installed.
    """
    os.environ.setdefault("MUJOCO_GL", "disabled")  # must precede the first import of mujoco
    try:
        with silence():
            import ogbench
    except ModuleNotFoundError as error:
        raise PackageMissing(
            f"OGBench is needed for this and cannot be imported here ({error})",
            fix="Add it: pip install 'flowsweep[ogbench]'.",
        ) from error
    return ogbench
