"""Our Optuna bridge: Optuna's own storage keeps the study; every outcome is told as what it was."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from ...search_spaces.conditions import configurations, is_conditional
from ...search_spaces.parameters import Space
from ..sweep.search_spec import HubSampler, Search
from .distributions import active_distributions, distribution, same_configuration, suggest
from .mirror import Mirror
from .samplers import make_sampler
from .study import Ending, Proposal, SweepStudy, begun, complete, gone, trial_name

STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
"""How an ending is told to Optuna; every other ending is a failure. Cancelled trials stay open: resume continues them."""
KNOWN_ENDS = ("finished", "diverged")
"""Endings that an equal configuration would come to again."""
ASKS = 10
"""Times the sampler is asked anew when it proposes what is being tried already."""
NEVER_PLACED = "never placed"
"""Why a proposal failed that no worker has seen."""
MOST_REPEATS = 20
"""Proposals in a row that only repeat finished trials before the search ends."""


class StudySearch:
    """Proposals from an Optuna study, and outcomes told back to it.

    Args:
        name: study name.
        storage: Optuna storage, or the address of a database.
        search: sampler, its seed and fixed first points.
        space: what is searched.
        direction: ``maximize`` or ``minimize``, one for each objective.
        pruner: judges running trials by the values reported so far.
        context: stands for all that a trial's outcome depends on beside its parameters; only trials of the same
            context answer for each other.
        earlier: finished trials of other sweeps to learn from; taken in when the study is new.
        trouble: told why the storage cannot be written, once per outage; the search goes on in memory.
    """

    def __init__(
        self,
        name: str,
        storage: str | BaseStorage,
        search: Search,
        space: Space,
        direction: str | Sequence[str],
        pruner: optuna.pruners.BasePruner,
        *,
        context: str = "",
        earlier: Sequence[FrozenTrial] = (),
        trouble: Callable[[str], None] = lambda reason: None,
    ):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        directions = [direction] if isinstance(direction, str) else list(direction)
        self._space, self._context = space, context
        self._distributions = {key: distribution(parameter) for key, parameter in space.items()}
        kept = optuna.storages.RDBStorage(storage) if isinstance(storage, str) else storage
        self._mirror = Mirror(kept, name, [StudyDirection[one.upper()] for one in directions], trouble)
        self.study = SweepStudy(name, self._mirror, pruner=pruner)
        self._take_in(earlier)
        self.study.sampler = make_sampler(
            search,
            self._distributions,
            len(self._trials()),
            conditional=is_conditional(space),
            several=len(directions) > 1,
        )
        for point in search.fixed:
            self.study.enqueue_trial(dict(point), skip_if_exists=True)
        self._several = len(directions) > 1
        self._open: dict[str, optuna.Trial] = {}
        self._slow = search.sampler == "gp" or isinstance(search.sampler, HubSampler)
        self._next: Future[Proposal | None] | None = None
        self._size = configurations(space)
        self._repeated = 0
        self._tried: dict[str, str] = {}
        elsewhere = self._trials()[: self._taken_in]
        self._elsewhere = {same_configuration(frozen.params) for frozen in elsewhere if frozen.params}
        for frozen in self._trials():
            self._remember(frozen)
        self._mirror.flush()

    @property
    def exhausted(self) -> str | None:
        """Why there is nothing left to propose, if so."""
        if self._size is not None and len(self._tried.keys() | self._elsewhere) >= self._size:
            return f"all {self._size} configurations of the space have been proposed"
        if self._repeated >= MOST_REPEATS:
            return f"the last {self._repeated} proposals only repeated finished trials"
        return None

    def prepare(self) -> None:
        """Begin the next proposal in the background, where the sampler is one that takes its time."""
        if self._slow and self._next is None:
            self._next = begun(self._make)

    def ready(self) -> bool:
        """Whether :meth:`propose` answers at once; what is prepared may not be done yet."""
        return self._next is None or self._next.done()

    def propose(self) -> Proposal | None:
        """The next configuration, or None when the search is exhausted.

        Running trials count, so that parallel proposals spread. What is being tried already is not proposed again;
        what came to its end before is proposed with the trial that answers for it.
        """
        made, self._next = self._next, None
        return made.result() if made else self._make()

    def _make(self) -> Proposal | None:
        if self.exhausted:
            return None
        for left in reversed(range(ASKS)):
            trial = self.study.ask()
            params = suggest(trial, self._space)
            twin = self._tried.get(same_configuration(params))
            known = self._known(twin)
            if twin is None or known or left == 0 or not self._is_open(twin):
                break
            self._close(trial, "failed", f"proposes what {twin} is trying")
        name = trial_name(trial.number - self._taken_in)
        trial.set_user_attr("trial", name)
        if self._context:
            trial.set_user_attr("context", self._context)
        self._open[name] = trial
        self._tried.setdefault(same_configuration(params), name)
        self._repeated = self._repeated + 1 if known else 0
        self._mirror.flush()
        return Proposal(name, trial.number - self._taken_in, params, twin if known else None)

    def ending(self, name: str) -> Ending:
        """What a trial that has ended came to."""
        frozen = self._frozen(name)
        status = frozen.user_attrs.get("status", "finished")
        values = frozen.values if frozen.state == TrialState.COMPLETE else None
        return Ending(status, tuple(values or ()), dict(frozen.constraints))

    def reopen(self, name: str) -> None:
        """Take up a trial that an earlier driver left running."""
        self._open[name] = optuna.Trial(self.study, self._frozen(name)._trial_id)

    def report(self, name: str, step: int, value: float) -> None:
        """Record an intermediate value; a step reported twice keeps its first value. Several objectives have none."""
        if name in self._open and not self._several:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._open[name].report(value, step)
            self._mirror.flush()

    def unpromising(self, name: str) -> bool:
        """Whether the pruner would stop the trial now."""
        return name in self._open and not self._several and self._open[name].should_prune()

    def values_at(self, step: int) -> list[float]:
        """The newest value of every trial that has got as far as ``step``."""
        found = []
        for trial in self.study.get_trials(deepcopy=False):
            reached = [s for s in trial.intermediate_values if s <= step]
            if reached and max(trial.intermediate_values) >= step:
                found.append(trial.intermediate_values[max(reached)])
        return found

    @property
    def running(self) -> list[str]:
        """Trials that have not ended as far as the study knows."""
        return [trial_name(f.number - self._taken_in) for f in self._trials(TrialState.RUNNING)]

    def tell(
        self,
        name: str,
        status: str,
        value: float | Sequence[float] | None,
        reason: str,
        excess: Mapping[str, float] | None = None,
    ) -> None:
        """Close a trial with what became of it.

        Args:
            value: its objective, or all of them in order.
            excess: by constraint, how far its value lies beyond the limit; 0 or below where it is kept.
        """
        trial = self._open.pop(name, None)
        if trial is None or status in ("cancelled", "preempted"):
            return
        unknown = [constraint for constraint, beyond in (excess or {}).items() if not math.isfinite(beyond)]
        for constraint, beyond in (excess or {}).items():
            if constraint not in unknown:
                trial.set_constraint(constraint, beyond)
        if self._context and trial.user_attrs.get("context") != self._context:
            trial.set_user_attr("context", self._context)  # it was taken further than when it was proposed
        if unknown and status == "finished":
            value, reason = None, f"not known whether {', '.join(unknown)} is kept"
        self._close(trial, status, reason, value)
        self._mirror.flush()

    def settle(self, timeout_s: float = 10.0) -> int:
        """Wait until the storage has everything; the number of writes it still lacks then."""
        return self._mirror.settle(timeout_s)

    def restore(self, name: str, params: Mapping[str, Any]) -> None:
        """Add a trial that the journal knows and the storage does not, as running; trials before it as failed.

        One that the storage has only in part is made whole: its driver may have died between two writes.
        """
        number = int(name.removeprefix("t")) + self._taken_in
        for missing in range(len(self._trials()), number + 1):
            self.study.add_trial(self._restored(name, params) if missing == number else gone())
        self._mirror.flush()
        if not self._frozen(name).state.is_finished():
            complete(self._mirror, self._frozen(name), self._restored(name, params))

    def withdraw(self, name: str) -> None:
        """Close a proposal that no worker has seen. A fixed point is proposed again."""
        fixed = self._frozen(name).system_attrs.get("fixed_params")
        if name not in self._open:
            self.reopen(name)
        self.tell(name, "failed", None, NEVER_PLACED)
        if fixed:
            self._tried.pop(same_configuration(fixed), None)
            self.study.enqueue_trial(fixed)
            self._mirror.flush()

    def _restored(self, name: str, params: Mapping[str, Any]) -> FrozenTrial:
        attrs = {"trial": name} | ({"context": self._context} if self._context else {})
        try:
            distributions = active_distributions(self._space, params)
            return create_trial(
                state=TrialState.RUNNING, params=dict(params), distributions=distributions, user_attrs=attrs
            )
        except ValueError:  # it lies outside the space that is searched now
            return gone()

    def close(self, timeout_s: float = 10.0) -> int:
        """Wait for the storage as :meth:`settle` does, and let go of it."""
        if self._next and self._next.done() and (unused := self.propose()):
            self.withdraw(unused.trial)
        return self._mirror.close(timeout_s)

    def _close(
        self,
        trial: optuna.Trial,
        status: str,
        reason: str,
        value: float | Sequence[float] | None = None,
    ) -> None:
        values = [value] if isinstance(value, int | float) else list(value or ())
        state = STATES.get(status, TrialState.FAIL)
        unusable = len(values) < len(self.study.directions) or any(map(math.isnan, values))
        if state == TrialState.COMPLETE and unusable:
            state, reason = TrialState.FAIL, reason or "ended without a value"
        trial.set_user_attr("status", status)
        trial.set_user_attr("reason", reason)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a sampler that does not use constraints says so each time
            self.study.tell(trial, values if state == TrialState.COMPLETE else None, state=state)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in the order of their numbers, those taken in from other sweeps included."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _frozen(self, name: str) -> FrozenTrial:
        return self._trials()[int(name.removeprefix("t")) + self._taken_in]

    def _known(self, name: str | None) -> bool:
        """Whether a trial's ending answers for others of its configuration."""
        if name is None or name in self._open or not self._context:
            return False
        attrs = self._frozen(name).user_attrs
        return attrs.get("status") in KNOWN_ENDS and attrs.get("context") == self._context

    def _is_open(self, name: str) -> bool:
        return name in self._open or not self._frozen(name).state.is_finished()

    def _remember(self, frozen: FrozenTrial) -> None:
        """Later trials of a configuration take the place of earlier ones unless those answer for it."""
        key, name = same_configuration(frozen.params), frozen.user_attrs.get("trial")
        if name is not None and not self._known(self._tried.get(key)):
            self._tried[key] = name

    def _take_in(self, earlier: Sequence[FrozenTrial]) -> None:
        """Add finished trials of other sweeps before the first of this one."""
        self._taken_in = int(self.study.user_attrs.get("taken_in", 0))
        if not self._trials() and earlier:
            self._taken_in = len(earlier)
            self.study.set_user_attr("taken_in", len(earlier))
            self._mirror.flush()
        for frozen in list(earlier)[len(self._trials()) : self._taken_in]:
            self.study.add_trial(frozen)
