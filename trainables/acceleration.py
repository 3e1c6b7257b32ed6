"""How updates are computed: operation by operation, or compiled. Free of torch, for plans and requests.

Results of both are equal up to rounding, so the choice is no part of what a stage is filed under.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from .errors import UserError

Acceleration = Literal["eager", "compile"]
KEY = "resources.acceleration"
MOST_PROGRAMS = 256
"""Compiled forms of one function in one process, after which torch refuses: every network size needs one."""

F = TypeVar("F", bound=Callable)


def check_acceleration(kind: Acceleration) -> None:
    """Refuse what this machine cannot do.

    Raises:
        UserError: there is no C++ compiler, or no header files of this Python.
    """
    if kind == "eager":
        return
    way_out = f"or set {KEY} to `eager`, which computes the same."
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise UserError(
            f"needs a C++ compiler, and `{compiler}` is not found",
            key=KEY,
            value=kind,
            fix=f"Install g++ (or name another in the environment variable CXX), {way_out}",
        )
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.is_file():
        raise UserError(
            f"needs the header files of Python, and {header} does not exist",
            key=KEY,
            value=kind,
            fix=f"Install them (python3-dev on Debian), {way_out}",
        )


def compiled(function: F) -> F:
    """The function as one compiled program per shape and setting, without a way back into Python in between.

    Programs are kept on disk by torch (``TORCHINDUCTOR_CACHE_DIR``), so that only the first trial on a machine waits
    for the compiler.
    """
    import torch
    import torch._dynamo
    import torch._inductor.config

    # A trial has the cores it was given: no pool of compiling processes beside it.
    torch._inductor.config.compile_threads = 1  # type: ignore[attr-defined]
    torch._dynamo.config.recompile_limit = MOST_PROGRAMS  # type: ignore[attr-defined]
    torch._dynamo.config.accumulated_recompile_limit = 16 * MOST_PROGRAMS  # type: ignore[attr-defined]
    return torch.compile(function, fullgraph=True, dynamic=False)  # type: ignore[return-value]
