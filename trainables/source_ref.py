"""What a sweep learns from, by kind and name: a dataset, an environment or a problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from .config import FrozenConfig

SourceKind = Literal["dataset", "environment", "problem", "nothing"]
"""Also the key under which sweep files, records, trackers and exports name it. A training function of the user's own learns
from nothing that is named: it brings what it needs."""

KINDS: tuple[SourceKind, ...] = tuple(kind for kind in get_args(SourceKind) if kind != "nothing")
"""Those that are named."""

Split = Literal["tune", "test"]
"""Whether a trial is scored for the search or, on what the search has not seen, for the confirmation."""


class SourceRef(FrozenConfig):
    """One thing to learn from, not opened."""

    kind: SourceKind
    """What it is."""
    name: str
    """What its system opens it by."""

    @classmethod
    def among(cls, said: Mapping[str, Any]) -> SourceRef:
        """The one that a sweep file, a request or an export names under its kind (``{"environment": "detour-v0"}``).

        Args:
            said: has the name under the kind, or a mapping with ``name`` in it; nothing where it names none.
        """
        for kind in KINDS:
            if found := said.get(kind):
                return cls(kind=kind, name=found if isinstance(found, str) else str(found.get("name", "")))
        return NOTHING

    @property
    def named(self) -> dict[str, str]:
        """The name under the kind, as files say it."""
        return {self.kind: self.name} if self.name else {}

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


NOTHING = SourceRef(kind="nothing", name="")
"""What a training function learns from."""


def an(kind: SourceKind) -> str:
    """The kind with its article: ``an environment``."""
    return f"an {kind}" if kind == "environment" else f"a {kind}"
