"""What a learner only appends to, on disk: every row is written once, in files that checkpoints name.

A file is ``rows/FIRST-LAST-DIGEST.safetensors``; it appears whole or not at all and never changes. A checkpoint holds
the list of files it stands on, so that its own size does not grow with the rows.

Legend: rows are the leading axis of every tensor.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifacts import Damaged

if TYPE_CHECKING:
    import torch

FOLDER = "rows"


@dataclass(frozen=True)
class Chunk:
    """One file.

    Attributes:
        name: of the file.
        rows: how many it holds.
        sha256: of its content.
    """

    name: str
    rows: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """As a manifest names it."""
        return asdict(self)


class RowLog:
    """The files of rows of one stage of one trial.

    Args:
        folder: of the stage's checkpoints.
    """

    def __init__(self, folder: Path):
        self.folder = folder / FOLDER
        self._chunks: list[Chunk] = []

    def extend(self, log: Mapping[str, torch.Tensor]) -> list[Chunk]:
        """Write the rows that are new since the last call, or since what was read; returns all files there are.

        Raises:
            OSError: they could not be written; nothing of them is left.
        """
        if not log:
            return []
        stored, rows = sum(chunk.rows for chunk in self._chunks), len(next(iter(log.values())))
        if rows > stored:
            self._chunks = [*self._chunks, self._write(log, stored, rows)]
        return list(self._chunks)

    def read(self, chunks: Sequence[Chunk]) -> dict[str, torch.Tensor]:
        """All rows of these files, in order; what is appended next continues them.

        Raises:
            Damaged: a file is missing or is not what was written.
        """
        import torch
        from safetensors.torch import load

        parts = [load(self._checked(chunk)) for chunk in chunks]
        self._chunks = list(chunks)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}

    def drop_all_but(self, named: Collection[str]) -> int:
        """Delete every file that is not named; returns the bytes."""
        freed = 0
        for path in self.folder.glob("*.safetensors"):
            if path.name not in named:
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
        return freed

    def _write(self, log: Mapping[str, torch.Tensor], first: int, end: int) -> Chunk:
        from .tensor_files import save_tensors

        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.folder / f".new.{uuid.uuid4().hex}.aside"
        try:
            save_tensors({name: value[first:end] for name, value in log.items()}, aside)
            digest = hashlib.sha256(aside.read_bytes()).hexdigest()
            name = f"{first:010d}-{end:010d}-{digest[:12]}.safetensors"
            with open(aside, "rb") as file:
                os.fsync(file.fileno())
            os.replace(aside, self.folder / name)
        finally:
            aside.unlink(missing_ok=True)
        return Chunk(name, end - first, digest)

    def _checked(self, chunk: Chunk) -> bytes:
        path = self.folder / Path(chunk.name).name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Damaged(path, f"rows {chunk.name} cannot be read ({error.strerror})") from error
        if (found := hashlib.sha256(content).hexdigest()) != chunk.sha256:
            raise Damaged(path, f"the SHA-256 of rows {chunk.name} is {found[:12]}, not {chunk.sha256[:12]}")
        return content
