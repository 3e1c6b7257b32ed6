"""The report of a sweep: one HTML page to read, keep and send, made from what is on record."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UserError
from ..paths import SweepPaths
from ..record.results import read_sweep
from .page import Page, render
from .sections import report_page


def write_report(paths: SweepPaths) -> Path:
    """Write the page of a sweep, finished or not, and return where it lies.

    Everything is inside the one file: it loads nothing and runs no script.

    Raises:
        UserError: there is no such sweep, or nothing of it is on record.
    """
    page = render(_page(paths))
    aside = paths.report.with_name(f".{paths.report.name}.{os.getpid()}")
    with open(aside, "w", encoding="utf-8") as file:
        file.write(page)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, paths.report)
    return paths.report


def write_figures(paths: SweepPaths, folder: Path) -> list[Path]:
    """Write every figure of a sweep's page as a file of its own, named after its section; returns their paths.

    Raises:
        UserError: there is no such sweep, nothing of it is on record, or the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for section in _page(paths).sections:
            name = section.title.lower().replace(" ", "-")
            for number, figure in enumerate(section.figures, start=1):
                written.append(folder / f"{name}-{number}{figure.suffix}")
                written[-1].write_bytes(figure.data)
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror or error}", key="--figures", value=str(folder),
            fix="Name another folder.",
        ) from error  # fmt: skip
    return written


def _page(paths: SweepPaths) -> Page:
    record = read_sweep(paths)
    if not record.started:
        raise UserError(
            "the sweep was recorded no further than its name",
            key="NAME",
            value=paths.name,
            fix="Run it again under another name.",
        )
    return report_page(record)
