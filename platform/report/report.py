"""The report of a sweep: one HTML page to read, keep and send, made from what is on record."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UserError
from ..paths import SweepPaths
from ..record.results import read_sweep
from .page import render
from .sections import report_page


def write_report(paths: SweepPaths) -> Path:
    """Write the page of a sweep, finished or not, and return where it lies.

    Everything is inside the one file: it loads nothing and runs no script.

    Raises:
        UserError: there is no such sweep, or nothing of it is on record.
    """
    record = read_sweep(paths)
    if not record.started:
        raise UserError(
            "the sweep was recorded no further than its name",
            key="NAME",
            value=paths.name,
            fix="Run it again under another name.",
        )
    page = render(report_page(record))
    aside = paths.report.with_name(f".{paths.report.name}.{os.getpid()}")
    with open(aside, "w", encoding="utf-8") as file:
        file.write(page)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, paths.report)
    return paths.report
