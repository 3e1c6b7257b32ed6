"""The flat form of a dataset on disk: two Arrow files and a manifest, written once, mapped by every reader.

Legend: S states, N transitions, O observation size, A action size.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock

from .dataset import DatasetInfo, FlatDataset

FORMAT = 1
MANIFEST = "manifest.json"
STATES, TRANSITIONS = "states.arrow", "transitions.arrow"
_ASIDE = ".aside-"


@dataclass(frozen=True)
class FlatArrays:
    """What is stored: the columns of :class:`FlatDataset`, in memory."""

    states: np.ndarray
    rows: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    masks: np.ndarray
    boundaries: np.ndarray

    def digest(self, shaped_by: Mapping[str, Any]) -> str:
        """SHA-256 of every column and of what shaped them."""
        hasher = hashlib.sha256(json.dumps(shaped_by, sort_keys=True).encode())
        for name in self.__dataclass_fields__:
            column = np.ascontiguousarray(getattr(self, name))
            hasher.update(f"{name} {column.dtype.str} {column.shape}".encode())
            hasher.update(column.data)
        return hasher.hexdigest()


def read_entry(entry: Path) -> FlatDataset | None:
    """Map a finished entry into memory, or None when there is none or it is not whole.

    Costs about a millisecond and reads no column: pages come in as they are used and are shared between processes.
    """
    try:
        manifest = json.loads((entry / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            return None
        if any((entry / name).stat().st_size != file["bytes"] for name, file in manifest["files"].items()):
            return None
        info = DatasetInfo.model_validate_json(json.dumps(manifest["info"]))
        states, transitions = _mapped(entry / STATES), _mapped(entry / TRANSITIONS)
        return FlatDataset(
            info=info,
            states=_matrix(states["state"]),
            rows=_vector(transitions["row"], np.int64),
            actions=_matrix(transitions["action"]),
            rewards=_vector(transitions["reward"]),
            masks=_vector(transitions["mask"]),
            boundaries=_vector(transitions["boundary"], np.bool_),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, pa.ArrowInvalid):
        return None


def read_manifest(entry: Path) -> dict[str, Any]:
    """The manifest of a finished entry: info, source, versions, file sizes and digests."""
    return json.loads((entry / MANIFEST).read_bytes())


def damaged_files(entry: Path) -> list[str]:
    """Names of files whose content no longer has the digest recorded when they were written. Reads everything."""
    files = read_manifest(entry)["files"]
    return [name for name, file in files.items() if file_digest(entry / name) != file["sha256"]]


def build_entry(
    entry: Path, build: Callable[[], tuple[DatasetInfo, FlatArrays, Mapping[str, Any]]]
) -> FlatDataset:
    """Make an entry unless another process has; one process builds, the others wait for it.

    Args:
        entry: the entry's folder; its parent belongs to one dataset name.
        build: gives the info, the columns, and facts for the manifest (source, versions).
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(entry.parent / ".lock"):
        found = read_entry(entry)
        if found is not None:
            return found
        # Whoever held the lock before is done or dead, so what it left aside is nobody's.
        for leftover in entry.parent.glob(f"{_ASIDE}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        info, arrays, facts = build()
        _publish(entry, info, arrays, facts)
        _drop_superseded(entry)
    found = read_entry(entry)
    if found is None:
        raise OSError(f"the flat dataset written to {entry} cannot be read back")
    return found


def _publish(entry: Path, info: DatasetInfo, arrays: FlatArrays, facts: Mapping[str, Any]) -> None:
    aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=entry.parent))
    _write_table(aside / STATES, {"state": _list_column(arrays.states)})
    _write_table(
        aside / TRANSITIONS,
        {
            "row": pa.array(arrays.rows),
            "action": _list_column(arrays.actions),
            "reward": pa.array(arrays.rewards),
            "mask": pa.array(arrays.masks),
            # A byte each: Arrow packs booleans into bits, which cannot be viewed as a NumPy array.
            "boundary": pa.array(arrays.boundaries.view(np.uint8)),
        },
    )
    files = {
        name: {"bytes": (aside / name).stat().st_size, "sha256": file_digest(aside / name)}
        for name in (STATES, TRANSITIONS)
    }
    manifest = {"format": FORMAT, "info": info.model_dump(mode="json"), "files": files, **facts}
    with open(aside / MANIFEST, "w") as file:
        json.dump(manifest, file, indent=1)
        _sync(file.fileno())
    _sync_folder(aside)
    if entry.exists():  # not whole, or read_entry had found it
        entry.rename(Path(tempfile.mkdtemp(prefix=_ASIDE, dir=entry.parent)) / "damaged")
    aside.rename(entry)
    _sync_folder(entry.parent)


def _drop_superseded(entry: Path) -> None:
    # Made from an older state of the same dataset. Processes that have them mapped keep their pages.
    for other in entry.parent.iterdir():
        if other != entry and (other / MANIFEST).exists():
            shutil.rmtree(other, ignore_errors=True)


def _write_table(path: Path, columns: Mapping[str, pa.Array]) -> None:
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    with open(path, "wb") as file:
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        _sync(file.fileno())


def _list_column(matrix: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).ravel()), matrix.shape[1])


def _mapped(path: Path) -> dict[str, pa.Array]:
    with pa.memory_map(str(path)) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def _vector(column: pa.Array, dtype: type = np.float32) -> np.ndarray:
    # Not Array.to_numpy, nor its dtype: their first call imports pandas, which costs half a second.
    return np.frombuffer(column.buffers()[-1], dtype, count=len(column))


def _matrix(column: pa.Array) -> np.ndarray:
    return _vector(column.values).reshape(len(column), -1)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)
