"""How snapshots lie on disk, and what a learner's walk needs of the store that keeps them.

A snapshot is a folder: ``tensors.safetensors``, ``meta.json``, and ``manifest.json`` with the SHA-256 of both. The
folder appears at once and whole, or not at all; what is damaged later is noticed on reading and never used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .base import Snapshot
from .lossless_json import dumps, loads

FORMAT = 1
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"
META = "meta.json"


class Damaged(Exception):
    """A stored snapshot is not what was written; it must be computed again, never used."""

    def __init__(self, path: Path, what: str):
        self.path, self.what = Path(path), what
        super().__init__(f"{path}: {what}")

    def __reduce__(self):
        return type(self), (self.path, self.what)


@dataclass(frozen=True)
class Provenance:
    """Where an artifact comes from and what it took.

    Attributes:
        identity: everything that determines it; its digest is the key.
        cpu_s: process time spent on it; for one of several lanes, its share.
        wall_s: elapsed time spent on it.
        steps: updates done.
        code_version: of the code that computed it.
    """

    identity: Mapping[str, Any] = field(default_factory=dict)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    steps: int = 0
    code_version: str = ""


@dataclass(frozen=True)
class Artifact:
    """A finished stage output in the store.

    Attributes:
        path: the folder it is read from.
        created: unix seconds.
        bytes: of its content.
        last_used: unix seconds by the store's time; 0 where nobody looked.
        stored_bytes: of all its files; 0 where nobody looked.
    """

    key: str
    path: Path
    provenance: Provenance
    created: float
    bytes: int
    last_used: float = field(default=0.0, compare=False)
    stored_bytes: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Finished:
    """The artifact is there, its digests verified."""

    artifact: Artifact


@dataclass(frozen=True)
class Held:
    """Somebody else computes it: who, and since when (unix seconds)."""

    holder: str
    since: float


class Claim(Protocol):
    """The right to compute one artifact. Leaving the ``with`` block without publishing gives it back."""

    @property
    def key(self) -> str: ...

    @property
    def reason(self) -> str | None:
        """Why it is computed although it had been claimed or stored before; None when it is simply new."""
        ...

    def publish(self, snapshot: Snapshot, provenance: Provenance) -> Artifact:
        """Store the output for everyone and end the claim."""
        ...

    def release(self) -> None:
        """Give the claim back without an output."""
        ...

    def __enter__(self) -> Claim: ...

    def __exit__(self, *exc: object) -> None: ...


class ArtifactStore(Protocol):
    """Shared outputs of stages by content address; each is computed once, whoever asks."""

    def acquire(self, key: str, holder: str, wait_s: float = 0.0) -> Finished | Claim | Held:
        """The artifact, or the right to compute it, or who is computing it.

        Args:
            key: ``identity_key`` of the stage's identity.
            holder: who asks, as others should see it (a trial id).
            wait_s: how long to wait for another holder before answering ``Held``.
        """
        ...

    def load(self, key: str) -> Snapshot:
        """The stored output.

        Raises:
            KeyError: it is not there.
            Damaged: it is not what was written; it has been put out of the way.
        """
        ...


def write_snapshot(directory: Path, snapshot: Snapshot, about: Mapping[str, Any] | None = None) -> int:
    """Store a snapshot as ``directory``, replacing one that is there.

    Aliased and non-contiguous tensors are stored as ordinary ones: equal values, no longer sharing memory.

    Args:
        directory: the folder to appear; its parent is made when missing.
        snapshot: what to store.
        about: further entries of the manifest.

    Returns:
        Bytes of all files.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = directory.parent / f".{directory.name}.{uuid.uuid4().hex}.aside"
    try:
        size = write_files(aside, snapshot, about)
        put_in_place(aside, directory)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return size


def write_files(aside: Path, snapshot: Snapshot, about: Mapping[str, Any] | None = None) -> int:
    """Write and fsync the files of a snapshot into a new folder nobody reads yet; returns their bytes."""
    from .tensor_files import save_tensors

    aside.mkdir(parents=True)
    save_tensors(snapshot.tensors, aside / TENSORS)
    (aside / META).write_text(dumps(dict(snapshot.meta)))
    digests = {name: _sha256(aside / name) for name in (TENSORS, META)}
    size = sum((aside / name).stat().st_size for name in digests)
    manifest = {"format": FORMAT, "created": time.time(), "bytes": size, "digests": digests, **(about or {})}
    (aside / MANIFEST).write_text(dumps(manifest))
    for name in (TENSORS, META, MANIFEST):
        _fsync(aside / name)
    _fsync(aside)
    return size


def put_in_place(aside: Path, directory: Path) -> None:
    """Rename a finished folder to its name, durably; an older one of that name goes first."""
    if directory.exists():
        # A folder cannot be exchanged in one call here. Killed in between, the name is absent: never half.
        old = aside.with_name(aside.name + ".old")
        os.rename(directory, old)
        os.rename(aside, directory)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(aside, directory)
    _fsync(directory.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all; its folder is made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.aside")
    try:
        aside.write_text(text, encoding="utf-8")
        _fsync(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def read_snapshot(directory: Path) -> Snapshot:
    """The snapshot stored as ``directory``, after its digests have been checked.

    Raises:
        Damaged: a file is missing or is not what was written.
    """
    from safetensors.torch import load_file

    directory = Path(directory)
    verify(directory)
    return Snapshot(load_file(directory / TENSORS), loads((directory / META).read_bytes()))


_VERIFIED: dict[str, tuple[int, int, int, str]] = {}
"""Files whose digest this process has checked: path to (mtime in ns, bytes, inode, digest)."""


def verify(directory: Path) -> Mapping[str, Any]:
    """Check every file against its digest, once per process as long as the file does not change.

    Returns:
        The manifest.

    Raises:
        Damaged: a file is missing or is not what was written.
    """
    manifest = read_manifest(directory)
    for name in (TENSORS, META):
        path, expected = directory / name, manifest["digests"].get(name)
        try:
            stat = path.stat()
            known = (stat.st_mtime_ns, stat.st_size, stat.st_ino, expected)
            if _VERIFIED.get(str(path)) == known:
                continue
            found = _sha256(path)
        except OSError as error:
            raise Damaged(directory, f"{name} cannot be read ({error.strerror})") from error
        if found != expected:
            raise Damaged(directory, f"the SHA-256 of {name} is {found[:12]}, not {str(expected)[:12]}")
        _VERIFIED[str(path)] = known
    return manifest


def read_manifest(directory: Path) -> Mapping[str, Any]:
    """The manifest of a stored snapshot, its files unchecked.

    Raises:
        Damaged: it is missing, is no manifest, or was written by a newer format.
    """
    try:
        content = (directory / MANIFEST).read_bytes()
    except OSError as error:
        raise Damaged(directory, f"{MANIFEST} cannot be read ({error.strerror})") from error
    return parse_manifest(content, directory)


def parse_manifest(content: bytes, directory: Path) -> Mapping[str, Any]:
    """A manifest from its bytes; raises :class:`Damaged`, naming ``directory``, when it is none this version reads."""
    try:
        manifest = loads(content)
        version, _ = manifest["format"], manifest["digests"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(directory, f"{MANIFEST} is not a manifest") from error
    if version != FORMAT:
        raise Damaged(directory, f"{MANIFEST} has format {version}, this version reads {FORMAT}")
    return manifest


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
