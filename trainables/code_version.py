"""Which code is running: the release, and the commit when it runs from a work tree."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from .. import __version__


@cache
def code_version() -> str:
    """``0.1.0`` for an installed release; ``0.1.0+g1a2b3c4`` from a work tree, ``.dirty`` when it was changed."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return __version__
    try:
        commit = _git(root, "rev-parse", "--short", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+g{commit}{'.dirty' if changed else ''}"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=5, check=True
    )
    return done.stdout.strip()
