"""Standard output that may go away: a reader that has seen enough, a disk that is full, a terminal that was closed."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

SIGPIPE_CODE = 141
"""What a shell says of a program whose reader went away."""


class OutputGone(SystemExit):
    """A command that only prints has nobody left to print to."""


class Outlet:
    """A stream whose loss is noticed once; what is written later is dropped.

    Args:
        stream: standard output or error, as Python made it.
        on_loss: told why it was lost; may raise.
    """

    def __init__(self, stream: Any, on_loss: Callable[[OSError], None]):
        self._stream, self.on_loss = stream, on_loss

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # what is buffered goes there too, whenever it is flushed
        os.close(nowhere)
        self.on_loss(error)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Meanwhile a lost output ends the command with one line at most, and a lost error output goes unnoticed."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Outlet(sys.stdout, _give_up), Outlet(sys.stderr, lambda error: None)  # type: ignore[assignment]
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr = before


@contextlib.contextmanager
def optional(consequence: str) -> Iterator[None]:
    """Meanwhile the work goes on without its output; that is said once, on standard error.

    Args:
        consequence: what becomes of the work, in a sentence.
    """
    outlet = sys.stdout
    if not isinstance(outlet, Outlet):
        yield
        return

    def tell(error: OSError) -> None:
        print(f"The output has gone away ({error.strerror}). {consequence}", file=sys.stderr, flush=True)

    before, outlet.on_loss = outlet.on_loss, tell
    try:
        yield
    finally:
        outlet.on_loss = before


def _give_up(error: OSError) -> None:
    if error.errno == errno.EPIPE:
        raise OutputGone(SIGPIPE_CODE)
    print(f"Error: the output cannot be written: {error.strerror}.", file=sys.stderr, flush=True)
    raise OutputGone(1)


def fill_gaps() -> None:
    """Open nothing's device in place of standard files that were closed: the next file opened would take their number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        with contextlib.suppress(OSError):
            os.fstat(number)
            number = -1  # taken by now; it is left alone
        opened = open(os.devnull, mode)  # noqa: SIM115
        if number >= 0 and opened.fileno() != number:
            os.dup2(opened.fileno(), number)
        setattr(sys, name, opened)
