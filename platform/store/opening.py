"""Which stage store is meant, and whether it can be used."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import UserError
from ..paths import Home
from .base import Stages
from .object_files import check_writable, checked_address, is_object_address
from .stages import StageStore

VARIABLE = "FLOWSWEEP_STAGES"
"""Names the store for every sweep and command that names none itself."""


def stage_place(home: Home, asked: str | None = None, key: str = "storage.stages") -> tuple[str, str]:
    """The stage store's folder or address, and the setting that says so.

    Args:
        asked: the sweep file's or the command's own choice.
        key: how that is called.
    """
    if asked:
        return asked, key
    if there := os.environ.get(VARIABLE):
        return there, VARIABLE
    return str(home.stages), "FLOWSWEEP_HOME"


def open_store(home: Home, asked: str | None = None, key: str = "storage.stages") -> Stages:
    """The stage store meant by a sweep or a command; nothing is asked of it yet.

    Raises:
        UserError: it is neither a folder nor an address this platform knows.
    """
    place, key = stage_place(home, asked, key)
    if not is_object_address(place) or place.startswith("file://"):
        return StageStore(_folder(place, key))
    checked_address(place, key)
    from .object_store import ObjectStore

    return ObjectStore(place, cache_of(home))


def cache_of(home: Home) -> Path:
    """Where copies of what lies in an object store are kept on this machine."""
    return home.root / "stage-cache"


def check_store(home: Home, asked: str | None = None, key: str = "storage.stages") -> None:
    """Make sure that stage outputs can be stored, before anything is launched.

    Raises:
        UserError: the place is unfit.
        Unreachable: an object store does not answer within ten seconds, or does not let us write.
    """
    place, key = stage_place(home, asked, key)
    open_store(home, place, key)
    if is_object_address(place) and not place.startswith("file://"):
        check_writable(place, key)
    else:
        _check_folder(_folder(place, key), place, key)


def _check_folder(path: Path, place: str, key: str) -> None:
    """Refuse what is no folder, or one that cannot be made or written; changes nothing."""
    there = next(one for one in (path, *path.parents) if os.path.lexists(one))
    if not there.is_dir():
        problem = f"{there} is no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        problem = f"{there} may not be written"
    else:
        return
    raise UserError(
        problem, key=key, value=place, fix="Name a folder that may be written, or s3://bucket/prefix."
    )


def is_shared(store: Stages, home: Home) -> bool:
    """Whether others may use the store whose journals are not in this home."""
    return not isinstance(store, StageStore) or not store.root.resolve().is_relative_to(home.root.resolve())


def _folder(place: str, key: str) -> Path:
    path = Path(unquote(urlsplit(place).path) if place.startswith("file://") else place).expanduser()
    if not path.is_absolute():
        raise UserError(
            "needs an absolute path, or its place depends on where a command is started",
            key=key,
            value=place,
            fix=f"Write {path.resolve()}, or an address such as s3://bucket/prefix.",
        )
    return path
