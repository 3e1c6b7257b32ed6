"""The words and small parts of the search bridge."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial


@dataclass(frozen=True)
class Proposal:
    """A configuration to try.

    Attributes:
        number: its place among the sweep's proposals.
        repeats: the trial that came to its end with the very same configuration; nothing is to be run then.
    """

    trial: str
    number: int
    params: Mapping[str, Any]
    repeats: str | None = None


@dataclass(frozen=True)
class Ending:
    """What a trial came to.

    Attributes:
        values: the objectives in order; empty when there are none.
        excess: by constraint, how far its value lies beyond the limit.
    """

    status: str
    values: tuple[float, ...]
    excess: Mapping[str, float]


class SweepStudy(optuna.Study):
    """A study whose sampler may not stop it: a sampler that has seen everything is noticed by its proposals."""

    def stop(self) -> None:
        """Nothing; Optuna allows it only inside its own loop."""


def trial_name(number: int) -> str:
    """The sweep's name for the trial of that number."""
    return f"t{number:04d}"


def gone() -> FrozenTrial:
    """A trial that the storage has lost, in its place so that numbers stay what they were."""
    return create_trial(state=TrialState.FAIL, user_attrs={"status": "failed", "reason": "not on record"})


def complete(storage: BaseStorage, there: FrozenTrial, whole: FrozenTrial) -> None:
    """Write what a driver that died between two writes had not yet written of a trial that is under way."""
    if there.state == TrialState.WAITING:  # a fixed point that was being handed out
        storage.set_trial_state_values(there._trial_id, TrialState.RUNNING)
    for key in whole.params.keys() - there.params.keys():
        kind = whole.distributions[key]
        storage.set_trial_param(there._trial_id, key, kind.to_internal_repr(whole.params[key]), kind)
    for key in whole.user_attrs.keys() - there.user_attrs.keys() if whole.params else ():
        storage.set_trial_user_attr(there._trial_id, key, whole.user_attrs[key])


def begun(work: Callable[[], Any]) -> Future[Any]:
    """Work begun in a thread that a process may end without waiting for."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="proposal", daemon=True).start()
    return future
