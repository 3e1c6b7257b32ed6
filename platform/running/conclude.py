"""What a sweep leaves when it ends: tables and a report, on record so that the tracker gets them too."""

from __future__ import annotations

from ...trainables.events import Produced
from ..journal.journal import Journal
from ..paths import SweepPaths
from ..record.results import read_sweep, write_tables


def conclude(paths: SweepPaths, journal: Journal) -> str | None:
    """Write the result tables and the report page from the journal as it stands.

    Returns:
        Why there is no report, if there is none: a page that cannot be drawn must not cost a sweep its end.
    """
    for path in write_tables(read_sweep(paths)).values():
        journal.append(Produced(path=str(path.relative_to(paths.root)), role="table"))
    try:
        from ..report.report import write_report  # imports plotting

        page = write_report(paths)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    journal.append(Produced(path=str(page.relative_to(paths.root)), role="report"))
    return None
