"""Importing simulators where nothing is drawn and nobody reads their greetings."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from ..errors import PackageMissing

_NO_LABMAZE_SINCE = (3, 13)


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


def ogbench_way_in(running: tuple[int, ...] = sys.version_info[:2]) -> str:
    """How to get OGBench with the running Python."""
    add = "pip install 'flowsweep[ogbench]'"
    if running < _NO_LABMAZE_SINCE:
        return f"Add it: {add}."
    return (
        f"It needs labmaze, which has no wheels for Python {running[0]}.{running[1]}: make an environment with Python 3.12 "
        f"and add it there, {add}."
    )


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
            f"OGBench is needed for this and cannot be imported here ({error})", fix=ogbench_way_in()
        ) from error
    return ogbench
