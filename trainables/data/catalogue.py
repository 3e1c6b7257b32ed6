"""What datasets are on this machine."""

from __future__ import annotations

from typing import Any

from ..errors import UserError
from .cache import damaged_files
from .flat import entry_path
from .metadata import read_metadata
from .names import minari_data_path, parse_name
from .remote import local_datasets


def local_summaries() -> list[dict[str, Any]]:
    """Id, steps, episodes and bytes of every Minari dataset here, without importing Minari."""
    found = []
    for minari_id in local_datasets():
        data = minari_data_path(minari_id)
        try:
            metadata = read_metadata(data, minari_id)
            found.append(
                {
                    "id": minari_id,
                    "steps": metadata.steps,
                    "episodes": metadata.episodes,
                    "bytes": sum(path.stat().st_size for path in data.rglob("*") if path.is_file()),
                    "recipe": metadata.provenance.get("recipe"),
                    "description": metadata.description,
                }
            )
        except (OSError, UserError):
            continue  # another program's half-written folder is not ours to judge
    return found


def refuse_damage(name: str) -> None:
    """Compare the flat files of an opened dataset with the digests of when they were written.

    Raises:
        UserError: some differ.
    """
    parsed = parse_name(name)
    entry = entry_path(parsed, minari_data_path(parsed.minari_id))
    damaged = damaged_files(entry)
    if damaged:
        raise UserError(
            f"{', '.join(damaged)} no longer hold what was written",
            key="dataset",
            value=name,
            fix=f"Delete {entry}; it is made again from the Minari files.",
        )
