"""How a sweep is asked to end: by a person, who can wait, or by a machine that is about to go."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..paths import SweepPaths
from ..record.journal import Fact

HURRY_S = 5.0
"""After SIGTERM: how long trials may take to store their state. Then the driver leaves, ten seconds after the signal at
the latest; trials that were not ready go on from their last checkpoint."""


class Stopping:
    """Whether the sweep was asked to end.

    The first Ctrl-C lets every trial store its state and leave, however long that takes; the second leaves at once.
    SIGTERM is a first Ctrl-C with a second one ``HURRY_S`` later.

    Args:
        paths: where trials look for the request.
        watch: told of it.
    """

    def __init__(self, paths: SweepPaths, watch: Callable[[Fact], None]):
        self._paths, self._watch = paths, watch
        self._asked = self._told = False
        self.hurried = False
        """Whether there are only seconds left."""

    def is_set(self) -> bool:
        """Whether trials are to leave and nothing new is to start."""
        if self._asked and not self._told:
            # Not from the handler: it may have interrupted a print, which would then come out twice.
            self._told = True
            self._watch(Fact(-1, time.time(), "stopping", data={"hurried": self.hurried}))
        return self._asked

    def ask(self) -> None:
        """Let every trial store its state and leave; what is started later is not concerned once it is withdrawn."""
        self._paths.stop_request.touch()

    def withdraw(self) -> None:
        """Trials may start again, unless the whole sweep is to end."""
        if not self._asked:
            self._paths.stop_request.unlink(missing_ok=True)

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[Stopping]:
        """Listen to SIGINT and SIGTERM meanwhile; outside the main thread there is nothing to hear."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
        previous = {number: signal.signal(number, self._on_signal) for number in handled}
        try:
            yield self
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._asked and (number != signal.SIGTERM or self.hurried):
            raise KeyboardInterrupt
        self._asked, self.hurried = True, number == signal.SIGTERM
        if self.hurried:
            signal.setitimer(signal.ITIMER_REAL, HURRY_S)
        self.ask()
