"""The code that goes along with a sweep: exactly the package this process imports, and its entry points."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ..platform.errors import UserError

PACKAGE = __name__.partition(".")[0]
ROOMS = ("platform", "trainables", "search_spaces", "cluster")


def pack(folder: Path) -> list[Path]:
    """Lay the package and its metadata out under ``folder``, as two folders fit for Ray's ``py_modules``.

    Works alike from a source tree and from an installed wheel. Ray addresses folders by their content, so a
    changed source is never mistaken for the one sent before, and unpacks them beside the node's own packages;
    a wheel would be addressed by its file name, and installed together with a second copy of all it requires.

    Returns:
        The package's folder, and the metadata folder through which the node finds the registered systems.
    """
    source, target = Path(__file__).parent.parent, folder / PACKAGE
    for room in ROOMS:
        shutil.copytree(source / room, target / room, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for file in ("py.typed", *(module.name for module in source.glob("*.py"))):
        shutil.copy2(source / file, target / file)
    return [target, _metadata(folder)]


def _metadata(folder: Path) -> Path:
    try:
        installed = distribution(PACKAGE)
    except PackageNotFoundError:
        raise UserError(
            f"{PACKAGE} is imported but not installed, so its systems are not registered",
            fix="Install it: `pip install -e .` in the source tree.",
        ) from None
    target = folder / f"{PACKAGE}-{installed.version}.dist-info"
    target.mkdir()
    # In the root of a source tree Python finds the build's egg-info first, which names this file otherwise.
    metadata = installed.read_text("METADATA") or installed.read_text("PKG-INFO") or ""
    (target / "METADATA").write_text(metadata, encoding="utf-8")
    (target / "entry_points.txt").write_text(installed.read_text("entry_points.txt") or "", encoding="utf-8")
    return target
