"""Files that lie on Python's path before the packages they are named like, and hide them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

from ..errors import UserError

NEEDED = (
    "cmaes", "flowsweep", "gymnasium", "matplotlib", "minari", "mlflow", "mujoco", "numpy", "optuna", "pandas",
    "pyarrow", "pydantic", "ray", "rich", "safetensors", "scipy", "torch", "typer", "yaml",
)  # fmt: skip
"""What flowsweep imports, here or in processes that it starts."""


def check_shadows() -> None:
    """See that no file beside the sweep stands for a package that is needed.

    Child processes and workers do not look into the working directory; this process does when it was started as
    ``python -m``, and ``PYTHONPATH`` holds for all.

    Raises:
        UserError: one does.
    """
    for name, file in shadows(_folders(), _plugins()):
        raise UserError(
            f"hides the package {name}, which flowsweep needs", key=str(file),
            fix="Rename it, or start `flowsweep` (not `python -m`) without that folder in PYTHONPATH.",
        )  # fmt: skip


def shadows(folders: Iterable[Path], plugins: Iterable[str] = ()) -> Iterator[tuple[str, Path]]:
    """Names of hidden packages, and what hides them."""
    for folder in folders:
        for name in (*NEEDED, *plugins):
            for file in (folder / f"{name}.py", folder / name / "__init__.py"):
                # A package that was installed there has its metadata beside it.
                if file.exists() and not any(folder.glob(f"{name}-*.*-info")):
                    yield name, file


def _folders() -> list[Path]:
    """Where modules are looked for before the installed packages: the working directory and ``PYTHONPATH``."""
    asked = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    here = [] if sys.flags.safe_path else [os.getcwd()] * bool({"", os.getcwd()} & set(sys.path[:1]))
    return [Path(part) for part in (*here, *asked)]


def _plugins() -> Iterator[str]:
    """Modules of systems that are registered by packages installed elsewhere than in those folders."""
    folders = {folder.resolve() for folder in _folders()}
    for point in entry_points(group="flowsweep.systems"):
        if point.dist and Path(str(point.dist.locate_file(""))).resolve() not in folders:
            yield point.module.partition(".")[0]
