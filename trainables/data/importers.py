"""Bringing in OGBench's own files as Minari datasets, number for number.

Source: file layout and loader of the OGBench package (Park et al. 2024, https://arxiv.org/abs/2410.20092).

Legend: E episodes, T steps of an episode; a file has T + 1 rows per episode, the action of the last being void.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from ..errors import UserError
from .cache import file_digest
from .names import minari_data_path, parse_name

OGBENCH_URL = "https://rail.eecs.berkeley.edu/datasets/ogbench"
OGBENCH_FOLDER = Path("~/.ogbench/data")
NAMESPACE = "ogbench"
_FILE_NAME = re.compile(r"(?P<stem>[a-z0-9]+(?:-[a-z0-9]+)+)-(?P<version>v\d+)(?P<split>-val)?")
_TIMEOUT_S = 10.0
_COLUMNS = ("observations", "actions", "terminals", "qpos", "qvel", "button_states")
_DIGEST_LETTERS = 64
_COPIES = 3
"""Of a file's content that are in memory at once: as read, cut into episodes, and as Minari writes it."""

BytesProgress = Callable[[int, int | None], None]
"""Called with bytes received and bytes in all, where known."""


def import_ogbench(
    file: Path, *, name: str | None = None, force: bool = False, url: str | None = None
) -> str:
    """Turn an OGBench ``.npz`` file into a Minari dataset with the same numbers.

    All five tasks can be read from it: append ``#task3`` to the id when opening it.

    Args:
        file: ``cube-single-play-v0.npz``, or its ``-val`` companion. The name says which environment it is of.
        name: Minari id to use instead of ``ogbench/<file name>``.
        force: replace a dataset of that id.
        url: where the file came from, for the record.

    Returns:
        The Minari id.

    Raises:
        UserError: there is no such file, it is not of OGBench's form, or the id is taken.
    """
    original, default_id = _names(file)
    target = parse_name(name, key="name").minari_id if name else default_id
    if not file.is_file():
        raise UserError("no such file", key="file", value=str(file), fix="Name an `.npz` file of OGBench.")
    if minari_data_path(target).exists() and not force:
        raise UserError(
            "a dataset of this name is already there",
            key="name",
            value=target,
            fix="Replace it with `--force`.",
        )
    from .makers.shards import worker_pool

    with worker_pool(1) as pool:
        pool.submit(_import, file, original, target, force, url).result()
    return target


def read_ogbench(file: Path) -> list[dict[str, np.ndarray]]:
    """The episodes of an OGBench file, each with T + 1 states and T actions.

    Raises:
        UserError: it is not such a file, or holds images or discrete actions.
    """
    _refuse_unreadable(file)
    try:
        with np.load(file) as stored:
            columns = {key: stored[key] for key in _COLUMNS if key in stored.files}
    except UserError:
        raise
    except (
        Exception
    ) as error:  # numpy's, zipfile's and zlib's many ways to say that a file is not what it should be
        raise UserError(
            f"cannot be read ({type(error).__name__}: {error})", key="file", value=str(file), fix=_AGAIN
        ) from error
    missing = set(_COLUMNS[:5]) - columns.keys()
    if missing:
        raise UserError(f"lacks {', '.join(sorted(missing))}", key="file", value=str(file), fix=_FORM)
    if columns["observations"].dtype.kind != "f" or columns["actions"].dtype.kind != "f":
        raise UserError("holds images or discrete actions", key="file", value=str(file), fix=_FORM)
    for name, column in columns.items():
        wanted = 1 if name == "terminals" else 2
        if column.ndim != wanted or column.dtype.kind not in "fiub":
            shape = f"{column.dtype} of {column.ndim} axes, where numbers on {wanted} were expected"
            raise UserError(f"its {name} are {shape}", key="file", value=str(file), fix=_FORM)
    rows = len(columns["terminals"])
    ends = np.flatnonzero(columns["terminals"])
    lengths = np.diff(ends, prepend=-1)
    if any(len(column) != rows for column in columns.values()) or not len(ends) or ends[-1] != rows - 1:
        raise UserError("its columns do not end together", key="file", value=str(file), fix=_AGAIN)
    if lengths.min() < 2:
        raise UserError("holds an episode without a step", key="file", value=str(file), fix=_FORM)
    kinds = {"observations": np.float32, "actions": np.float32}
    kept = {
        key: columns[key].astype(kinds.get(key, columns[key].dtype), copy=False)
        for key in _COLUMNS
        if key in columns and key != "terminals"
    }
    return [
        {key: column[end - length + 1 : end + (key != "actions")] for key, column in kept.items()}
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]


def _refuse_unreadable(file: Path) -> None:
    """Stop at a file that would not fit into memory once unpacked, before anything of it is."""
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot be read ({error})", key="file", value=str(file), fix=_AGAIN) from error
    free = psutil.virtual_memory().available
    if _COPIES * unpacked > free:
        raise UserError(
            f"unpacks to {unpacked / 2**30:.1f} GiB, and importing takes {_COPIES} times that, where "
            f"{free / 2**30:.1f} GiB of memory are free", key="file", value=str(file),
            fix="Import it on a machine with more memory.",
        )  # fmt: skip


def fetch_ogbench(
    name: str,
    *,
    folder: Path | None = None,
    base_url: str | None = None,
    progress: BytesProgress | None = None,
) -> Path:
    """The file of an OGBench dataset: from a folder, else downloaded into OGBench's own cache.

    A download appears whole or not at all and its SHA-256 is kept beside it, to be checked ever after.

    Args:
        name: ``cube-single-play-v0``, or ``cube-single-play-v0-val``.
        folder: where the file already is; nothing is downloaded then.
        base_url: a mirror to download from; OGBench's server when None.
        progress: called while downloading.

    Raises:
        UserError: no such dataset, a folder without it, an unreachable server, or a changed file.
    """
    _names(Path(f"{name}.npz"))
    file = (folder or OGBENCH_FOLDER).expanduser() / f"{name}.npz"
    if folder is not None and not file.is_file():
        raise UserError(
            "not in that folder", key="--from-dir", value=str(file), fix="Name the folder that holds it."
        )
    if not file.exists():
        _download(f"{(base_url or OGBENCH_URL).rstrip('/')}/{name}.npz", file, progress)
    record = file.with_suffix(".npz.sha256")
    if record.exists() and record.read_bytes()[:_DIGEST_LETTERS].decode("ascii", "replace") != file_digest(
        file
    ):
        raise UserError("has changed since it was downloaded", key="file", value=str(file), fix=_AGAIN)
    return file


_AGAIN = "Delete it and import it again."
_FORM = "Only state-based OGBench datasets can be imported, not visual or powderworld ones."


def _names(file: Path) -> tuple[str, str]:
    match = _FILE_NAME.fullmatch(file.stem) if file.suffix == ".npz" else None
    if not match:
        raise UserError(
            "is not the name of an OGBench dataset",
            key="name",
            value=file.stem,
            fix="Such names look like `cube-single-play-v0`; the environment is read from them.",
        )
    stem, version, split = match["stem"], match["version"], match["split"] or ""
    return f"{stem}-{version}", f"{NAMESPACE}/{stem}{split}-{version}"


def _import(file: Path, original: str, target: str, force: bool, url: str | None) -> None:
    from .makers.minari_file import write_minari
    from .makers.ogbench_file import episodes_from_rows, label_and_describe

    episodes = episodes_from_rows(read_ogbench(file))
    source = {"file": file.name, "bytes": file.stat().st_size, "sha256": file_digest(file), "url": url}
    try:
        labelled, description = label_and_describe(
            episodes,
            original,
            algorithm="see the OGBench paper",
            text=f"Imported from OGBench's {file.name}. Rewards are those of the default task.",
            imported=source,
        )
    except (
        Exception
    ) as error:  # gymnasium's and numpy's many ways to say that the name and the file do not fit
        raise UserError(
            f"cannot be labelled with the tasks of {original} ({type(error).__name__}: {error})",
            key="file",
            value=str(file),
            fix="A file's name must say which OGBench environment it is of.",
        ) from error
    write_minari(target, labelled, description, {"made_by": "trainables.data.importers"}, force)


def _download(url: str, file: Path, progress: BytesProgress | None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as target, urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            declared = answer.headers.get("Content-Length")
            expected = int(declared) if declared else None
            received = 0
            while chunk := answer.read(1 << 20):
                target.write(chunk)
                received += len(chunk)
                if progress:
                    progress(received, expected)
            target.flush()
            os.fsync(target.fileno())
        if expected is not None and received != expected:
            raise OSError(f"the connection ended after {received} of {expected} bytes")
        file.with_suffix(".npz.sha256").write_text(f"{file_digest(Path(aside))}  {file.name}\n")
        shutil.move(aside, file)
    except (OSError, ValueError) as error:
        raise UserError(
            f"could not be downloaded ({error})",
            key="url",
            value=url,
            fix="Name a mirror with `--base-url`, or a folder that holds the file with `--from-dir`.",
        ) from error
    finally:
        Path(aside).unlink(missing_ok=True)
