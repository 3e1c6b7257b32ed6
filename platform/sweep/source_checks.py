"""What a sweep learns from, checked against what its system takes: exactly one of dataset, environment and problem."""

from __future__ import annotations

from collections.abc import Iterator

from ...trainables.base import System
from ...trainables.source_ref import KINDS, SourceKind, an
from ..errors import UserError
from .spec import SweepSpec

LISTED_BY = {
    "dataset": "flowsweep data list --recipes",
    "environment": "flowsweep environments list",
    "problem": "flowsweep problems list",
}


def source_errors(spec: SweepSpec, system: System) -> Iterator[UserError]:
    """The key that is missing, or those that are of no use to the system, each with what to write instead."""
    wanted = system.learns_from
    if wanted == "nothing":
        for kind in KINDS:
            if (name := getattr(spec, kind)) is not None:
                yield UserError(
                    f"`{system.name}` brings what it learns from", key=kind, value=name,
                    fix="Drop it; what the code needs is a setting of its own.",
                )  # fmt: skip
        return
    given: dict[SourceKind, str] = {kind: name for kind in KINDS if (name := getattr(spec, kind)) is not None}
    learns = f"`{system.name}` learns from {an(wanted)}"
    if not given:
        yield UserError(
            f"is missing: {learns}", key=wanted,
            fix=f"Write `{wanted}: NAME`; `{LISTED_BY[wanted]}` shows names.",
        )  # fmt: skip
    for kind, name in given.items():
        if kind != wanted:
            yield UserError(
                f"{learns}, not from {an(kind)}", key=kind, value=name,
                fix=f"Drop it; `{wanted}: {given[wanted]}` says it."
                if wanted in given else f"Write `{wanted}: {name}`.",
            )  # fmt: skip
