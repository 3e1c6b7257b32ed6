"""Options and printing that commands have in common."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import UserError
from .output import fill_gaps

if TYPE_CHECKING:
    from ...trainables.source_ref import SourceRef

fill_gaps()
# Where no terminal says how wide it is, tables are kept whole for whoever reads the log. What is shown comes from files
# that others may have written: nothing in it is markup, and what is to be bold is said by `styled`.
console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of a table.")]
Code = Annotated[
    str | None,
    typer.Option(
        "--code",
        metavar="FILE.py:NAME",
        help="Where the sweep's own code lies, if not where it was run from here.",
    ),
]
SweepName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a recorded sweep (see `flowsweep list`).")
]


def styled(*parts: str | tuple[str, str]) -> Text:
    """Parts in one line, each as it is or with its style: ``styled((name, "bold"), " is ready")``."""
    return Text.assemble(*parts)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, default=str))


def settings(assignments: list[str]) -> dict[str, str]:
    """``key=value`` options as a mapping.

    Raises:
        UserError: an assignment has no ``=``.
    """
    found: dict[str, str] = {}
    for text in assignments:
        key, sign, value = text.partition("=")
        if not sign or not re.fullmatch(r"[\w.]+", key):
            raise UserError(
                "must look like key=value", key="--set", value=text, fix="Example: --set search.trials=8."
            )
        found[key] = value
    return found


def grid(
    title: str | None,
    columns: list[str],
    rows: Sequence[Sequence[str | Text]],
    right: Collection[int] = (),
) -> Table:
    """A plain table; ``right`` holds the columns to align right."""
    view = Table(
        title=title, box=None, pad_edge=False, header_style="dim", title_justify="left", title_style="bold"
    )
    for index, name in enumerate(columns):
        view.add_column(name, justify="right" if index in right else "left", no_wrap=True)
    for row in rows:
        view.add_row(*row)
    return view


def name_code(sweep: str, given: str | None) -> None:
    """Make the user's own code that a recorded sweep runs known to this process, where it runs any."""
    from ..going_on.named_code import name_recorded_code
    from ..paths import Home

    name_recorded_code(Home.default().sweep(sweep), given)


def learnt_from(source: SourceRef) -> str:
    """What a system learns from, to come after its name; nothing where it brings that."""
    return f" on {source.name}" if source.name else ""


def gib(size: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return ""


def numbers(params: Mapping[str, Any]) -> str:
    """Parameters on one line."""
    return "  ".join(
        f"{k.split('.', 1)[-1]}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items()
    )


class ProgressBar:
    """A progress bar that appears with the first word of progress."""

    def __init__(self, title: str, unit: str):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit, markup=False),
        )
        self._title, self._task = title, None
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)

    def __enter__(self) -> ProgressBar:
        self._progress.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._progress.__exit__(*failure)

    def __call__(self, done: int, total: int | None) -> None:
        if self._task is None:
            self._task = self._progress.add_task(self._title, total=total)
        self._progress.update(self._task, completed=done, total=total)
