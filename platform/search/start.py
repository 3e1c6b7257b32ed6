"""A sweep's search, opened: its storage, what earlier sweeps found, and what the last driver left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from ...trainables.lossless_json import dumps
from ..errors import Unreachable
from ..going_on.courses import settled
from ..going_on.renewal import current_study
from ..paths import Home, SweepPaths
from ..record.journal import Fact
from ..running.scheduling import judged, make_pruner
from ..sweep.goals import Goals
from ..sweep.plan import Plan
from ..sweep.stop_spec import Stop
from .bridge import StudySearch
from .history import earlier_trials
from .recovery import reconcile
from .storages import open_storage, study_name


def open_search(
    plan: Plan, home: Home, paths: SweepPaths, recorded: Sequence[Fact], record: Callable[..., None]
) -> StudySearch:
    """The search of a sweep, brought in line with its journal.

    Args:
        recorded: the journal as it stands.
        record: puts a fact about the sweep on record (``record(kind, **data)``).

    Raises:
        UserError, Refused, Unreachable: the storage cannot be opened, or an earlier sweep does not fit.
    """
    spec, goals = plan.spec, Goals.of(plan.spec)
    earlier, taken = [], ()
    if spec.search.from_ and not any(fact.kind == "warm_started" for fact in recorded):
        earlier, taken = earlier_trials(plan.resolved, plan.fingerprint, home)
    search = StudySearch(
        current_study(study_name(spec.search.storage, paths), recorded),
        open_storage(spec.search.storage, paths),
        spec.search,
        plan.resolved.space,
        [goal.direction for goal in goals.objectives],
        make_pruner(spec.stop),
        context=context_of(plan),
        earlier=earlier,
        trouble=lambda reason: record("storage_behind", reason=reason),
    )
    if taken:
        if search.settle():
            raise Unreachable("the study's storage does not take what is written", key="search.storage")
        record("warm_started", sweeps=[one.to_json() for one in taken])
    reconcile(search, settled(recorded), Scores(goals, spec.stop, plan.resolved.stage))
    return search


def context_of(plan: Plan) -> str:
    """Stands for all that a search trial's outcome depends on beside the parameters searched."""
    spec, resolved = plan.spec, plan.resolved
    parts: dict[str, Any] = {
        "system": spec.system,
        "data": plan.fingerprint,
        "configs": resolved.trial_configs({}),
        "seeds": list(spec.seeds.tune),
        "evaluation": spec.evaluation.model_dump(mode="json"),
        "goals": [spec.objective.model_dump(mode="json"), *(limit.text for limit in spec.constraints)],
    }
    return hashlib.sha256(dumps(parts).encode()).hexdigest()[:16]


class Scores:
    """What the stop rules were told of each trial, read again from its facts in their order."""

    def __init__(self, goals: Goals, stop: Stop, stage: str):
        self.goals, self.stop, self.stage = goals, stop, stage
        self._known: dict[str | None, dict[str, float]] = {}

    def __call__(self, fact: Fact) -> float | None:
        """What they were told with this fact, if anything."""
        if fact.kind not in ("progress", "evaluated") or fact.data.get("stage") != self.stage:
            return None
        reported = self.goals.read(fact.data["metrics"])
        known = self._known.setdefault(fact.trial, {})
        known |= reported
        if self.goals.objectives[0].metric not in reported:
            return None
        return judged(self.goals, self.stop, fact.data["step"], known)
