"""When the first trials all fail for the same reason, so would the rest: the sweep stops and says why."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..journal.events import Entry, TrialEnded

FEW = 3
"""So many alike, with nothing else to be seen, and no further trial is spent on it."""
SAME_FAILURE = "same failure"
"""The rule by which such a sweep ends."""
OF_THE_CODE = frozenset({"code_error", "configuration", "preempted"})
"""Classes that say nothing of the parameters; a trial that diverged or was too large may leave others to try."""


class FirstFailures:
    """Watches the trials of a search from its beginning, until one of them gets anywhere.

    Args:
        recorded: the journal so far; where a trial ever got somewhere, there is nothing to watch for.
    """

    def __init__(self, recorded: Iterable[Entry] = ()):
        self._alike: list[str] = []
        self._reason = ""
        self._over = any(
            isinstance(entry.event, TrialEnded) and entry.event.failure not in OF_THE_CODE
            for entry in recorded
        )

    def passed(self) -> None:
        """A trial was scored: it can be done."""
        self._over = True

    def take(self, trial: str, ending: TrialEnded) -> str | None:
        """Note how a trial ended; why the sweep is to stop, once it is."""
        if self._over or ending.status == "cancelled":
            return None
        reason = ending.reason
        if ending.failure not in OF_THE_CODE or (self._alike and _alike(reason) != self._reason):
            self._over = True
            return None
        self._alike.append(trial)
        self._reason = _alike(reason)
        if len(self._alike) < FEW:
            return None
        self._over = True
        return f"the first {FEW} trials all failed: {reason}"


def _alike(reason: str) -> str:
    """A reason without its numbers, which may be those of the trial."""
    return re.sub(r"[-+]?\d[\d.e+-]*", "#", reason)
