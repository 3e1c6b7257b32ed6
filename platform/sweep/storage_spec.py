"""The parts of a sweep file that say what is kept where."""

from __future__ import annotations

from pydantic import field_validator

from ...trainables.config import FrozenConfig
from ..errors import UserError
from ..store.object_files import checked_address, is_object_address


class Storage(FrozenConfig):
    """Where what is shared between sweeps lies."""

    stages: str | None = None
    """Stage store: a folder, `s3://bucket/prefix` or `gs://bucket/prefix`; else `$FLOWSWEEP_STAGES`, else the home."""

    @field_validator("stages")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        if value and is_object_address(value) and not value.startswith("file://"):
            try:
                checked_address(value, "storage.stages")
            except UserError as error:
                raise ValueError(f"{error.problem}. {error.fix}") from None
        return value
