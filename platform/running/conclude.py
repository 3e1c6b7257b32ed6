"""What a sweep leaves when it ends: tables and a report, on record so that the tracker gets them too."""

from __future__ import annotations

from ...trainables.events import Produced
from ..errors import UserError
from ..journal.journal import Journal
from ..paths import SweepPaths
from ..record.results import read_sweep, write_tables


def conclude(paths: SweepPaths, journal: Journal) -> str | None:
    """Write the result tables and the report page from the journal as it stands.

    Returns:
        Why tables or report are missing, if they are: what cannot be written must not cost a sweep its end.
    """
    try:
        for path in write_tables(read_sweep(paths)).values():
            journal.append(Produced(path=str(path.relative_to(paths.root)), role="table"))
        from ..report.report import write_report  # imports plotting

        page = write_report(paths)
    except UserError:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    journal.append(Produced(path=str(page.relative_to(paths.root)), role="report"))
    return None
