"""Delete a sweep's own folder, after saying what goes, what stays, and what could be freed then."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..errors import Refused, UserError
from ..journal.events import SweepStarted
from ..journal.journal import read, writer_of
from ..journal.state import WRONG_FORM
from ..paths import Home, SweepPaths
from ..store.base import size_of
from ..store.opening import open_store
from ..store.stage_use import sweep_uses
from .results import summarize


@dataclass(frozen=True)
class Deletion:
    """What deleting a sweep would do.

    Attributes:
        bytes: of its folder.
        trials: how many of each status.
        freeable: stage outputs in the store that no other sweep of this home uses.
        freeable_bytes: of those.
        stays: what is left in place, in words.
    """

    name: str
    folder: str
    status: str
    bytes: int
    trials: dict[str, int] = field(default_factory=dict)
    freeable: int = 0
    freeable_bytes: int = 0
    stays: tuple[str, ...] = ()


def plan_deletion(paths: SweepPaths, home: Home) -> Deletion:
    """What would go and what would stay. Changes nothing.

    Raises:
        Refused: the sweep is being run.
    """
    _refuse_running(paths)
    summary, uses = summarize(paths), sweep_uses(home)
    own = next((use for use in uses if use.name == paths.name), None)
    others = {key for use in uses if use.name != paths.name for key in use.keys}
    spec = _spec(paths)
    freeable = sizes = 0
    place = spec.get("storage", {}).get("stages")
    with suppress(
        OSError, UserError
    ):  # A store that is away now says nothing about what may be deleted here.
        store = open_store(home, place)
        mine = [a for a in store.list() if own is not None and a.key in own.keys - others]
        freeable, sizes = len(mine), sum(artifact.stored_bytes for artifact in mine)
    return Deletion(
        name=paths.name,
        folder=str(paths.root),
        status=summary.status,
        bytes=size_of(paths.root),
        trials=dict(summary.trials or {}),
        freeable=freeable,
        freeable_bytes=sizes,
        stays=tuple(_staying(spec, home)),
    )


def delete_sweep(paths: SweepPaths) -> int:
    """Delete the sweep's folder; returns the bytes freed.

    Raises:
        Refused: the sweep is being run.
    """
    _refuse_running(paths)
    size = size_of(paths.root)
    # Under a name no command lists, so that a half-deleted sweep is never taken for one; `gc` collects what is left.
    aside = paths.root.with_name(f".{paths.name}.{uuid.uuid4().hex}.aside")
    os.rename(paths.root, aside)
    SweepPaths(aside).journal.unlink(missing_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    return size - size_of(aside)


def _refuse_running(paths: SweepPaths) -> None:
    if (writer := writer_of(paths.journal)) is not None:
        raise Refused(
            f"it is being run by {writer}", key="NAME", value=paths.name,
            fix="Stop it first: Ctrl-C where it runs, or `flowsweep stop` on a cluster.",
        )  # fmt: skip


def _spec(paths: SweepPaths) -> dict[str, Any]:
    try:
        return dict(next(e.event.spec for e in read(paths.journal) if isinstance(e.event, SweepStarted)))
    except (UserError, StopIteration, *WRONG_FORM):
        return {}


def _staying(spec: dict[str, Any], home: Home) -> list[str]:
    tracker = (spec.get("tracking") or {}).get("uri") or home.mlflow_uri
    stays = [f"the MLflow records ({_without_login(tracker)}); delete them there"]
    storage = (spec.get("search") or {}).get("storage")
    if isinstance(storage, str) and storage and not storage.startswith("sqlite"):
        stays.append("the study in Optuna's storage outside this folder")
    return [*stays, "stage outputs in the store, which other sweeps may share", "datasets"]


def _without_login(uri: str) -> str:
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark and "@" in rest else uri
