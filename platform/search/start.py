"""A sweep's search, opened: its storage, what earlier sweeps found, and what the last driver left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from ...trainables.events import Event
from ...trainables.lossless_json import dumps
from ..errors import Unreachable
from ..going_on.renewal import current_study
from ..journal.events import StorageBehind, WarmStarted
from ..journal.state import SweepState
from ..paths import Home, SweepPaths
from ..running.scheduling import judged, make_pruner
from ..sweep.goals import Goals
from ..sweep.plan import Plan
from .bridge import StudySearch
from .history import earlier_trials
from .recovery import reconcile
from .storages import open_storage, study_name


def open_search(
    plan: Plan, home: Home, paths: SweepPaths, state: SweepState, record: Callable[[Event], Any]
) -> StudySearch:
    """The search of a sweep, brought in line with its journal.

    Args:
        state: what is on record.
        record: puts an event of the sweep on record.

    Raises:
        UserError, Refused, Unreachable: the storage cannot be opened, or an earlier sweep does not fit.
    """
    spec, goals = plan.spec, Goals.of(plan.spec)
    earlier, taken = [], ()
    if spec.search.from_ and not state.warm_started:
        earlier, taken = earlier_trials(plan.resolved, plan.fingerprint, home)
    search = StudySearch(
        current_study(study_name(spec.search.storage, paths), state),
        open_storage(spec.search.storage, paths),
        spec.search,
        plan.resolved.space,
        [goal.direction for goal in goals.objectives],
        make_pruner(spec.stop),
        context=context_of(plan),
        earlier=earlier,
        trouble=lambda reason: record(StorageBehind(reason=reason)),
    )
    if taken:
        if search.settle():
            raise Unreachable("the study's storage does not take what is written", key="search.storage")
        record(WarmStarted(sweeps=tuple(one.to_json() for one in taken)))
    reconcile(search, state, lambda step, latest: judged(goals, spec.stop, step, goals.read(latest)))
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
