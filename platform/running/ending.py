"""How a sweep ends: on record once, whoever comes first to say it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..journal.events import Entry, Left, SweepEnded
from ..journal.journal import Journal

WORD_S = 1.0
"""How long the last word may take: what it needs may be held by a thread that is stuck."""


class Ending:
    """Puts ``sweep_ended`` on record, the first time it is told how."""

    def __init__(self, journal: Journal, watch: Callable[[Entry], None]):
        self._journal, self._watch = journal, watch
        self._lock = threading.Lock()
        self.status: str | None = None
        """As it was recorded."""

    def record(self, status: str, reason: str) -> None:
        """Record it, unless it is."""
        with self._lock:
            if self.status is None:
                self.status = status
                self._watch(self._journal.append(SweepEnded(status=status, reason=reason)))

    def last_word(self, why: str) -> None:
        """Say and record that the process is about to be ended, as far as that goes in ``WORD_S``."""

        def say() -> None:
            self.record("interrupted", why)
            self._watch(Entry(seq=-1, time=time.time(), event=Left(reason=why)))

        saying = threading.Thread(target=say, daemon=True)
        saying.start()
        saying.join(WORD_S)
