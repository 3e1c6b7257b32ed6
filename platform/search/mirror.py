"""A study in memory, passed on to the storage that keeps it.

The driver is the only writer of its study (it holds the journal's lock), so proposals and stop rules can read from
memory: a proposal then costs what its sampler costs, not a database's round trips. A thread writes to the storage, a new
trial in one transaction. A storage that fails on the way stops nothing: what it has not got waits and follows, and
what a driver that dies leaves unwritten, the next one takes from the journal.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

PATIENCE_S = 15.0
"""After a failed write, how long until the storage is tried again."""


class Mirror(InMemoryStorage):
    """A copy of one study in memory that passes every change on.

    Args:
        kept: the storage that lasts.
        name: the study, made when it is not there.
        directions: of its objectives.
        trouble: told why a write failed, once per outage.
    """

    def __init__(
        self,
        kept: BaseStorage,
        name: str,
        directions: Sequence[StudyDirection],
        trouble: Callable[[str], None] = lambda reason: None,
    ):
        super().__init__()
        self._kept, self._trouble = kept, trouble
        self._waiting: deque[tuple[str, int, tuple]] = deque()
        self._gathering: list[int] = []
        self._unwritten: set[int] = set()
        self._kept_ids: dict[int, int] = {}
        self._failing = self._hurried = self._closing = False
        self._turn = threading.Condition()
        self._kept_study = self._found_or_made(name, directions)
        self.study = self.create_new_study(kept.get_study_directions(self._kept_study), name)
        self._load()
        self._writer = threading.Thread(target=self._write_all, name="study-writer", daemon=True)
        self._writer.start()

    def settle(self, timeout_s: float) -> int:
        """Wait until the storage has everything; the number of writes it still lacks then."""
        self.flush()
        with self._turn:
            self._hurried = True
            self._turn.notify_all()
            self._turn.wait_for(lambda: not self._waiting, timeout_s)
            self._hurried = False
            return len(self._waiting)

    def close(self, timeout_s: float) -> int:
        """Wait for the storage as :meth:`settle` does, then write nothing more."""
        left = self.settle(timeout_s)
        with self._turn:
            self._closing = True
            self._turn.notify_all()
        return left

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial = super().create_new_trial(study_id, template_trial)
        with self._turn:
            self._gathering.append(trial)
            self._unwritten.add(trial)
        return trial

    def set_trial_param(self, trial_id: int, *values: Any) -> None:
        super().set_trial_param(trial_id, *values)
        self._changed("set_trial_param", trial_id, *values)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        changed = super().set_trial_state_values(trial_id, state, values)
        self._changed("set_trial_state_values", trial_id, state, values)
        return changed

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        self._changed("set_trial_intermediate_value", trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_user_attr(trial_id, key, value)
        self._changed("set_trial_user_attr", trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_system_attr(trial_id, key, value)
        self._changed("set_trial_system_attr", trial_id, key, value)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_user_attr(study_id, key, value)
        self._changed("set_study_user_attr", -1, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_system_attr(study_id, key, value)
        self._changed("set_study_system_attr", -1, key, value)

    def flush(self) -> None:
        """Hand new trials to the writer; until then they gather their parameters, to go out whole."""
        with self._turn:
            self._waiting.extend(("add", trial, ()) for trial in self._gathering)
            self._gathering.clear()
            self._turn.notify_all()

    def _changed(self, what: str, trial_id: int, *values: Any) -> None:
        with self._turn:
            if trial_id not in self._unwritten:
                self._waiting.append((what, trial_id, values))
                self._turn.notify_all()

    def _found_or_made(self, name: str, directions: Sequence[StudyDirection]) -> int:
        try:
            return self._kept.get_study_id_from_name(name)
        except KeyError:
            return self._kept.create_new_study(list(directions), name)

    def _load(self) -> None:
        for trial in sorted(self._kept.get_all_trials(self._kept_study), key=lambda trial: trial.number):
            kept_id = trial._trial_id
            self._kept_ids[super().create_new_trial(self.study, trial)] = kept_id
        for key, value in self._kept.get_study_user_attrs(self._kept_study).items():
            super().set_study_user_attr(self.study, key, value)
        for key, value in self._kept.get_study_system_attrs(self._kept_study).items():
            super().set_study_system_attr(self.study, key, value)

    def _write_all(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._closing or self._waiting, None)
                if self._closing:
                    return
                what, trial_id, values = self._waiting[0]
                self._unwritten.discard(trial_id)  # what is changed from here on is written after it
            try:
                self._write(what, trial_id, values)
            except Exception as error:  # whatever a database's driver raises
                self._wait_after(error)
                continue
            with self._turn:
                self._failing = False
                self._waiting.popleft()
                self._turn.notify_all()

    def _write(self, what: str, trial_id: int, values: tuple) -> None:
        if what == "add":
            self._kept_ids[trial_id] = self._added(self.get_trial(trial_id))
        elif what.startswith("set_study"):
            getattr(self._kept, what)(self._kept_study, *values)
        else:
            # A finished trial refuses it: it went out with the whole, or in a write whose answer was lost.
            with contextlib.suppress(UpdateFinishedTrialError):
                getattr(self._kept, what)(self._kept_ids[trial_id], *values)

    def _added(self, trial: FrozenTrial) -> int:
        if self._failing:
            try:  # The write that failed may have arrived all the same.
                return self._kept.get_trial_id_from_study_id_trial_number(self._kept_study, trial.number)
            except KeyError:
                pass
        return self._kept.create_new_trial(self._kept_study, trial)

    def _wait_after(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            self._trouble(str(error).strip().splitlines()[0] if str(error).strip() else repr(error))
        with self._turn:
            self._turn.wait_for(lambda: self._closing or self._hurried, PATIENCE_S)
            self._hurried = False
