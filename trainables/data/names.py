"""Names of datasets: Minari ids, with `#taskN` where one task of several was relabelled."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

# No dots and no empty parts, so that a name joined to a root can never leave it.
_RULE = re.compile(
    r"(?P<minari_id>(?:[A-Za-z0-9_][A-Za-z0-9_-]*/){0,4}[A-Za-z0-9_][A-Za-z0-9_-]*-v\d{1,4})(?:#task(?P<task>[1-9]\d?))?"
)
_LONGEST = 160


@dataclass(frozen=True)
class DatasetName:
    """A parsed dataset name.

    Attributes:
        minari_id: ``namespace/name-vN``; the namespace is optional and may be nested.
        task: the OGBench task whose rewards are wanted, None for the dataset's own.
    """

    minari_id: str
    task: int | None = None

    def __str__(self) -> str:
        return self.minari_id if self.task is None else f"{self.minari_id}#task{self.task}"

    @property
    def folder(self) -> Path:
        """Relative folder of the flat form, one per name."""
        return Path(self.minari_id if self.task is None else f"{self.minari_id}.task{self.task}")


def parse_name(name: str, key: str = "dataset") -> DatasetName:
    """Read a dataset name.

    Args:
        name: ``namespace/name-vN`` or ``name-vN``, optionally followed by ``#taskN``.
        key: the setting to name in the message.

    Raises:
        UserError: it does not have that form.
    """
    match = _RULE.fullmatch(name) if isinstance(name, str) and len(name) <= _LONGEST else None
    if not match:
        shown = name[:_LONGEST] if isinstance(name, str) else name
        raise UserError(
            "must be a Minari id such as `namespace/name-v0`, optionally followed by `#task3`",
            key=key,
            value=shown,
            fix="See what is there with `flowsweep data list`; a name ends in its version, `-v0`.",
        )
    task = match["task"]
    return DatasetName(match["minari_id"], None if task is None else int(task))


def minari_root() -> Path:
    """Where Minari keeps datasets, found without importing it: ``$MINARI_DATASETS_PATH``, else its default."""
    # Minari's own function creates the folder and costs an import of gymnasium; opening a cached dataset needs neither.
    configured = os.environ.get("MINARI_DATASETS_PATH")
    return Path(configured) if configured is not None else Path("~/.minari/datasets").expanduser()


def minari_data_path(minari_id: str) -> Path:
    """The folder of one dataset's files, whether or not it is there."""
    return minari_root() / minari_id / "data"
