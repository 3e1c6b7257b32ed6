"""What a sweep got over, for whoever looks at it."""

from __future__ import annotations

from ..journal.journal import read
from ..paths import SweepPaths
from ..record.incidents import incidents, summed
from ..report.text import counted
from .shared import console


def tell_incidents(paths: SweepPaths, most: int = 12) -> None:
    """Say what went wrong on the way and was got over; nothing when nothing did."""
    found = summed(incidents(read(paths.journal)))
    if found:
        console.print("\nGot over on the way")
    for incident in found[-most:]:
        where = f"{incident.trial}: " if incident.trial else ""
        console.print(f"  {where}{incident.what}", markup=False, soft_wrap=True)
    if len(found) > most:
        console.print(f"  and {len(found) - most} before these: flowsweep show {paths.name} --json")


def tell_refusals(paths: SweepPaths) -> None:
    """Say what the tracker will not take; nothing when it takes all."""
    from ..tracking.tracker import tracker_status

    status = tracker_status(paths)
    if status.refusals:
        console.print(
            f"The tracker has refused {counted(status.refusals, 'entry', 'entries')}, the newest: {status.refused[-1]}\n"
            "Nothing is lost here. Once the cause is mended (a run deleted in MLflow is restored there): "
            f"flowsweep sync {paths.name} --again",
            markup=False, soft_wrap=True,
        )  # fmt: skip
