"""After a driver has died, or the storage was away: the study brought in line with the journal, which is the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ..journal.state import SweepState
from .bridge import StudySearch


def reconcile(
    search: StudySearch,
    state: SweepState,
    told: Callable[[int, Mapping[str, float]], float | None] = lambda step, latest: None,
) -> None:
    """Tell the study what it has missed: trials, what they reported, and what became of them.

    Args:
        told: what the stop rules are told of a trial that has come to a step with these metrics, by bare name.
    """
    proposed = {trial.trial: trial for trial in state.phase("search")}
    for name in sorted(proposed, key=lambda name: int(name.removeprefix("t"))):
        search.restore(name, proposed[name].params)
    for name in search.running:
        if name not in proposed:
            search.withdraw(name)
        elif (trial := proposed[name]).status.has_ended:
            search.reopen(name)
            for step, latest in trial.history:
                value = told(step, latest)
                if value is not None and math.isfinite(value):
                    search.report(name, step, value)
            values = list(trial.values.values()) if trial.values else trial.value
            search.tell(name, trial.status, values, trial.reason, trial.excess)
