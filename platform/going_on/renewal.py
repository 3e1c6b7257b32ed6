"""A sweep's study in a new edition, where Optuna's own would hold what no longer counts.

An Optuna trial that has ended stays as it ended, and a study expects one space. A trial that is taken up again, one that
is taken further, or a changed range therefore lead to a new study beside the old one: the same trials under the same
numbers, those that go on running again, those outside the space left out. The old study stays as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from ...search_spaces.parameters import Space
from ...trainables.events import Event
from ..journal.events import StudyRenewed
from ..journal.state import SweepState
from ..search.distributions import distribution


def current_study(base: str, state: SweepState) -> str:
    """Return the study a sweep uses now; ``base`` is its first."""
    return state.study.study if state.study else base


def renewed_study(
    opened: Callable[[], BaseStorage],
    base: str,
    space: Space,
    state: SweepState,
    record: Callable[[Event], Any],
) -> str:
    """The study to go on with: the current one, or a new edition when that holds what no longer counts.

    It is on record only once it is whole, so that a driver killed in between begins it anew.

    Args:
        opened: the storage; opened only when there is something to do.
        base: the sweep's first study.
        space: what is searched from now on.
        record: puts an event of the sweep on record.
    """
    current = current_study(base, state)
    reopened = {name for name, trial in state.trials.items() if trial.reopened}
    changed = _space_changed(space, state)
    if not (reopened or changed):
        return current
    storage = opened()
    try:
        old = optuna.load_study(study_name=current, storage=storage)
    except KeyError:
        return current
    trials = old.get_trials(deepcopy=True)
    closed = {str(_name(one)) for one in trials if _name(one) in reopened and one.state.is_finished()}
    if not (closed or changed):
        return current
    edition = int(current.rpartition("~")[2]) + 1 if "~" in current else 1
    name = f"{base}~{edition}"
    afresh = {name for name in reopened if not state.trials[name].history}
    distributions = {key: distribution(parameter) for key, parameter in space.items()} if changed else {}
    outside = _copy(old, trials, name, storage, closed, afresh, distributions)
    event = StudyRenewed(study=name, of=current, reopened=tuple(sorted(closed)), outside=tuple(outside))
    record(event)
    return name


def _copy(
    old: optuna.Study,
    trials: Sequence[FrozenTrial],
    name: str,
    storage: BaseStorage,
    reopened: Collection[str],
    afresh: Collection[str],
    distributions: Mapping[str, BaseDistribution],
) -> list[str]:
    """Write the new edition; the names of trials that lie outside its space."""
    if name in optuna.get_all_study_names(storage):  # left half written
        optuna.delete_study(study_name=name, storage=storage)
    new = optuna.create_study(study_name=name, storage=storage, directions=old.directions)
    for key, value in old.user_attrs.items():
        new.set_user_attr(key, value)
    if not distributions:  # where a sampler stands in a sequence belongs to the space it was drawn for
        for key, value in storage.get_study_system_attrs(old._study_id).items():
            storage.set_study_system_attr(new._study_id, key, value)
    outside = []
    for trial in trials:
        if _name(trial) in reopened:
            trial = _running_again(trial, _name(trial) in afresh)
        if distributions:
            trial, fits = _within(trial, distributions)
            outside += [] if fits else [str(_name(trial))]
        new.add_trial(trial)
    return outside


def _running_again(trial: FrozenTrial, afresh: bool) -> FrozenTrial:
    trial.state, trial.values, trial.datetime_complete = TrialState.RUNNING, None, None
    for key in ("status", "reason"):
        trial.user_attrs.pop(key, None)
    if afresh:
        trial.intermediate_values, trial.system_attrs = {}, {}
    return trial


def _within(trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> tuple[FrozenTrial, bool]:
    """A trial as a point of the space, and whether it is one. Otherwise it keeps its number and nothing else."""
    trial = copy.deepcopy(trial)
    trial.system_attrs = {key: value for key, value in trial.system_attrs.items() if "rung" in key}
    fits = all(
        key in distributions and distributions[key]._contains(distributions[key].to_internal_repr(value))
        for key, value in trial.params.items()
    )
    if fits:
        trial.distributions = {key: distributions[key] for key in trial.params}
        return trial, True
    left_out = optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=trial.user_attrs)
    return left_out, False


def _space_changed(space: Space, state: SweepState) -> bool:
    then = state.spec.get("space")
    if not isinstance(then, Mapping):
        return False
    now = {key: parameter.model_dump(mode="json") for key, parameter in space.items()}
    return _ranges(then) != _ranges(now)


def _ranges(space: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is proposed from; reasons are not, and older records lack what was not known then."""
    return {
        key: {
            name: value for name, value in parameter.items() if name != "reason" and value not in ({}, None)
        }
        for key, parameter in space.items()
    }


def _name(trial: FrozenTrial) -> str | None:
    return trial.user_attrs.get("trial")
