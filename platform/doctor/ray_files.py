"""Who can read what Ray has written on this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..running.ray_private import PREFIX, base_folder
from .findings import Finding

TOKEN_PLACES = ("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_ray_files() -> Iterator[Finding]:
    """Report tokens and sessions of this user's that others can read.

    An embedded Ray of ours keeps both in a folder of mode 0700; a Ray started by hand does not.
    """
    found = [*_tokens(), *_sessions()]
    yield from found
    if not found:
        yield Finding(
            "ray files", "ok", f"no token and no session of yours is open to others; {base_folder()} is used"
        )


def _tokens() -> Iterator[Finding]:
    for place in TOKEN_PLACES:
        file = Path(os.environ.get(place, "") if place.isupper() else place).expanduser()
        with suppress(OSError):
            if file.is_file() and file.stat().st_mode & OTHERS:
                yield Finding(
                    "ray files", "warning", f"{file}: other users can read Ray's token and run programs as you",
                    f"`chmod 600 {file}`",
                )  # fmt: skip


def _sessions() -> Iterator[Finding]:
    """Sessions whose logs others can read: Ray logs the environment that it was given, secrets included."""
    open_ = [
        folder for folder in base_folder().glob("ray/session_2*") if _is_ours(folder) and _is_open(folder)
    ]
    if open_ and not base_folder().joinpath("ray").stat().st_mode & OTHERS:
        open_ = []
    if open_:
        yield Finding(
            "ray files", "warning", f"{open_[0].parent}: other users can read {len(open_)} session(s) of yours, whose logs "
            "may hold secrets of your environment",
            f"Delete them once no Ray of yours runs, or `chmod 700 {open_[0].parent}` where the machine is yours.",
        )  # fmt: skip
    for folder in base_folder().glob(f"{PREFIX}*"):
        if _is_ours(folder) and _is_open(folder):
            yield Finding(
                "ray files",
                "problem",
                f"{folder}: other users can enter it",
                f"`chmod 700 {folder}`, or delete it.",
            )


def _is_ours(folder: Path) -> bool:
    with suppress(OSError):
        return folder.lstat().st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink()
    return False


def _is_open(folder: Path) -> bool:
    with suppress(OSError):
        return bool(folder.stat().st_mode & OTHERS)
    return False
