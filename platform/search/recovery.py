"""After a driver has died, or the storage was away: the study brought in line with the journal, which is the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..record.journal import Fact
from .bridge import StudySearch


def reconcile(
    search: StudySearch, recorded: Sequence[Fact], score: Callable[[Fact], float | None] = lambda fact: None
) -> None:
    """Tell the study what it has missed: trials, what they reported, and what became of them.

    Args:
        recorded: the journal.
        score: the objective that a fact reports, if it does.
    """
    proposed = {
        str(fact.trial): fact.data["params"]
        for fact in recorded
        if fact.kind == "trial_proposed" and fact.data.get("phase") == "search"
    }
    for name in sorted(proposed, key=lambda name: int(name.removeprefix("t"))):
        search.restore(name, proposed[name])
    endings = {fact.trial: fact.data for fact in recorded if fact.kind == "trial_ended"}
    for name in search.running:
        if name not in proposed:
            search.withdraw(name)
        elif name in endings:
            search.reopen(name)
            _report_missed(search, name, recorded, score)
            ending = endings[name]
            values = ending.get("values")
            value = [values[metric] for metric in values] if values else ending["value"]
            search.tell(name, ending["status"], value, ending["reason"], ending.get("excess"))


def _report_missed(
    search: StudySearch, name: str, recorded: Sequence[Fact], score: Callable[[Fact], float | None]
) -> None:
    for fact in recorded:
        if fact.trial == name and (value := score(fact)) is not None and math.isfinite(value):
            search.report(name, fact.data["step"], value)
