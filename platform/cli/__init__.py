"""The command line: what a person types, and the exit code it ends with."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Annotated, Any, NoReturn

import typer

from ... import __version__
from ...trainables.handed import take_up
from ...trainables.redaction import redacted
from ..errors import UserError
from . import (
    attaching,
    authoring,
    cluster,
    data,
    drill,
    environments,
    going_on,
    launching,
    problems,
    records,
    repeat,
    sharing,
    stages,
    sweeps,
    upkeep,
)
from .output import guarded

app = typer.Typer(
    name="flowsweep",
    help="Hyperparameter sweeps for flow and diffusion policies: pretrain once, refine many, rerun the best.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for panel, rooms in {
    "Run a sweep": (sweeps, going_on),
    "Look at what came out": (records,),
    "Take it home": (repeat,),
    "On a cluster": (cluster, attaching, sharing),
    "Write a system": (authoring,),
    "Keep it in order": (stages, upkeep, drill),
}.items():
    for room in rooms:
        for command in room.app.registered_commands:
            command.rich_help_panel = panel
        app.add_typer(room.app)
app.add_typer(launching.app, name="cluster", rich_help_panel="On a cluster")
app.add_typer(data.app, name="data", rich_help_panel="Data")
app.add_typer(environments.app, name="environments", rich_help_panel="Data")
app.add_typer(problems.app, name="problems", rich_help_panel="Data")


REFUSED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EIO,
)
"""What a system says when a place may not be used, or not any more."""
ROOM = "See that it may be written and has room; FLOWSWEEP_HOME puts records elsewhere."


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(
    epilog="Exit codes: 0 done, 1 nothing finished, 2 wrong input, 3 refused, 4 unreachable, "
    "5 not reproduced, 130 interrupted."
)
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Nothing by itself: every command below does one thing."""


def _tell_crash(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Python's own traceback, without this process's secrets: a job's log is there for everyone on the cluster."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, where))))


def main() -> None:
    """Run the command line; a user's mistake ends with a message, never a traceback."""
    sys.excepthook = _tell_crash
    take_up()
    with guarded(), _told_to_end():
        try:
            app()
        except UserError as error:
            if os.environ.get("FLOWSWEEP_DEBUG"):
                raise
            typer.secho(f"Error: {redacted(str(error))}", err=True, fg="red")
            sys.exit(error.exit_code)
        except OSError as error:
            if error.filename is None or error.errno not in REFUSED or os.environ.get("FLOWSWEEP_DEBUG"):
                raise
            said = f"{error.filename}: cannot be written or read: {error.strerror}. {ROOM}"
            typer.secho(f"Error: {redacted(said)}", err=True, fg="red")
            sys.exit(UserError.exit_code)
        except KeyboardInterrupt:
            typer.secho("Interrupted.", err=True, fg="yellow")
            sys.exit(130)


def command() -> NoReturn:
    """The `flowsweep` command: :func:`main`, and out at once. To take apart all that was loaded takes Python seconds."""
    code: Any = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter's own end: threads, then what was registered
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


@contextmanager
def _told_to_end() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, with its own clearing up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)  # a child that was forked: it ends as it would have
        signal.raise_signal(number)

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    command()
