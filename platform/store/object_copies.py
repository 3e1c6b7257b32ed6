"""Publications in an object store and their verified copies on this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...trainables.artifacts import FORMAT, MANIFEST, META, TENSORS, Damaged, verify
from .base import Leftover, checked_key, size_of
from .object_files import drop_folder, files_at, put

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

DAMAGED = "damaged.json"
"""What a manifest is renamed to when its files are not what it says."""
USED = "used"
USED_EVERY_S = 600.0
"""A use is noted when the last note is older; what frees disk spares everything used within an hour."""


def folder_of(key: str) -> str:
    """Where everything about a key lies."""
    return f"v{FORMAT}/{key[:2]}/{checked_key(key)}"


def publication(info: FileInfo) -> str:
    """The folder of the publication an object belongs to."""
    return info.path.rpartition("/")[0]


def look(place: str, folder: str) -> list[FileInfo]:
    """Every object under a folder, by one listing."""
    from pyarrow.fs import FileSelector

    selector = FileSelector(folder, recursive=True, allow_not_found=True)
    return [info for info in files_at(place).get_file_info(selector) if info.is_file]


def manifests(infos: Iterable[FileInfo]) -> list[FileInfo]:
    """Manifests, the first published first; an empty one is still being written (only folders show that)."""
    found = [info for info in infos if info.base_name == MANIFEST and info.size]
    return sorted(found, key=lambda info: (info.mtime_ns or 0, info.path))


def last_used(infos: Iterable[FileInfo]) -> float:
    """Unix seconds of the last use of a key, from what lies in its folder."""
    return newest(info for info in infos if info.base_name in (USED, MANIFEST))


def newest(infos: Iterable[FileInfo]) -> float:
    """Unix seconds of the last change; 0 when there is nothing."""
    return max(((info.mtime_ns or 0) / 1e9 for info in infos), default=0.0)


def size(infos: Iterable[FileInfo]) -> int:
    """Bytes in all."""
    return sum(info.size or 0 for info in infos)


@dataclass(frozen=True)
class Copies:
    """Copies on this machine of what lies at an address.

    Args:
        place: the store's address.
        cache: a folder that several stores and processes may share.
    """

    place: str
    cache: Path

    @property
    def folder(self) -> Path:
        """Where the copies of this store lie."""
        return self.cache / hashlib.sha256(self.place.encode()).hexdigest()[:16]

    def path(self, key: str, published: str) -> Path:
        """Where the copy of a publication is or would be."""
        return self.folder / key[:2] / f"{key}.{published.rpartition('/')[2]}"

    def of(self, key: str) -> Path:
        """A verified copy of the artifact of a key, downloaded when it is not here yet.

        Raises:
            KeyError: there is no such artifact.
            Damaged: it is not what was written; it no longer counts.
        """
        infos = look(self.place, folder_of(key))
        if not (found := manifests(infos)):
            raise KeyError(key)
        published = publication(found[0])
        path = self.path(key, published)
        try:
            verify(path)
            os.utime(path / MANIFEST)
        except (Damaged, OSError):
            shutil.rmtree(path, ignore_errors=True)
            self._download(key, published, path)
        if time.time() - last_used(infos) > USED_EVERY_S:
            with suppress(OSError):
                put(files_at(self.place), f"{folder_of(key)}/{USED}", b"")
        return path

    def upload(self, key: str, token: str, aside: Path) -> Path:
        """Publish written files unless somebody has; a copy of what now counts."""
        files, own = files_at(self.place), f"{folder_of(key)}/{token}"
        if not manifests(look(self.place, folder_of(key))):
            for name in (TENSORS, META):
                _send(aside / name, self.place, f"{own}/{name}")
            put(files, f"{own}/{MANIFEST}", (aside / MANIFEST).read_bytes())  # Last: from here on it counts.
        if publication(manifests(look(self.place, folder_of(key)))[0]) == own:
            with suppress(OSError):  # Without room for a copy it is downloaded when it is read.
                _install(aside, self.path(key, own))
        else:
            drop_folder(files, own)
        return self.of(key)

    def list(self) -> Iterator[Leftover]:
        """Every copy, with when it was last read."""
        for copy in self.folder.glob("??/*"):
            with suppress(FileNotFoundError):
                yield Leftover(str(copy), size_of(copy), (copy / MANIFEST).stat().st_mtime, "copy")

    @contextmanager
    def aside(self) -> Iterator[Path]:
        """Room for files being written; what is left there on leaving is deleted."""
        place = self.cache / "aside" / uuid.uuid4().hex
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _download(self, key: str, published: str, path: Path) -> None:
        for last in (False, True):
            with self.aside() as aside:
                try:
                    _fetch(self.place, published, aside)
                    verify(aside)
                except FileNotFoundError:
                    raise KeyError(key) from None  # Removed while we read.
                except Damaged:
                    if last:  # The same twice is not the way's fault.
                        with suppress(FileNotFoundError):
                            files_at(self.place).move(f"{published}/{MANIFEST}", f"{published}/{DAMAGED}")
                        raise
                    continue
                _install(aside, path)
                return


def _fetch(place: str, published: str, aside: Path) -> None:
    """Download a publication.

    Raises:
        FileNotFoundError: its manifest is gone. Another missing file is left to who verifies.
    """
    from pyarrow.fs import LocalFileSystem, copy_files

    aside.mkdir(parents=True)
    for name in (TENSORS, META, MANIFEST):
        try:
            copy_files(
                f"{published}/{name}", str(aside / name),
                source_filesystem=files_at(place), destination_filesystem=LocalFileSystem(),
            )  # fmt: skip
        except FileNotFoundError:
            if name == MANIFEST:
                raise


def _send(file: Path, place: str, path: str) -> None:
    from pyarrow.fs import LocalFileSystem, copy_files

    files = files_at(place)
    if place.startswith("file://"):
        files.create_dir(path.rpartition("/")[0], recursive=True)
    copy_files(
        str(file), path, source_filesystem=LocalFileSystem(), destination_filesystem=files,
    )  # fmt: skip


def _install(aside: Path, path: Path) -> None:
    """Give a verified copy its name, unless another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(aside, path)
    except OSError:
        if not path.exists():
            raise
