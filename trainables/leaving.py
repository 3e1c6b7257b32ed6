"""How a worker process leaves when it is told to (SIGTERM): state first, then out, within seconds."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LEAVE = "leave"
"""A file of this name in a trial's folder asks it to store its state and leave."""
GRACE_S = 8.0
"""A preempted machine gives about ten seconds. What is not stored by then is left to the checkpoint before."""


class Leaving:
    """Whether this process was told to leave. Made once per process, in its main thread.

    Ray's own handler raises ``SystemExit`` wherever the process happens to be, so that no state could be stored. This
    one lets the work in hand come to a place where it can be, and calls Ray's handler then; when there is no work, at once.
    """

    def __init__(self) -> None:
        self.asked = False
        self._busy = False
        self._previous = signal.SIG_DFL
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._on_signal)
            signal.pthread_sigmask(
                signal.SIG_UNBLOCK, {signal.SIGTERM}
            )  # the daemon it was started by is deaf to it

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around work that looks at ``asked`` itself and then calls :meth:`leave`."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def leave(self) -> None:
        """End this process the way Ray wants it."""
        if callable(self._previous):
            self._previous(signal.SIGTERM, None)
        sys.exit(128 + signal.SIGTERM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not self._busy:
            self.leave()
        deadline = threading.Timer(GRACE_S, os._exit, (128 + signal.SIGTERM,))
        deadline.daemon = True
        deadline.start()
