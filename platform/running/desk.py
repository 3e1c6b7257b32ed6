"""Where every event of a trial passes, in one order: the journal, then the search, then the decision."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...trainables.errors import UserError
from ...trainables.events import Event, Produced, Report
from ...trainables.failures import Failure
from ...trainables.redaction import redacted
from ..journal.events import (
    UNRECORDED,
    BudgetSpent,
    Entry,
    SearchEnded,
    TrialEnded,
    TrialPlaced,
    TrialProposed,
    TrialRetried,
    TrialStopped,
)
from ..journal.journal import Journal
from ..journal.state import MARKED, SweepState, TrialState, TrialStatus, mark
from ..search.bridge import StudySearch
from ..sweep.goals import Goals
from ..sweep.spec import SweepSpec
from .budget import Meter, Spent
from .failures import STATUSES, Attempts, Retry, failed_again
from .first_failures import SAME_FAILURE, FirstFailures
from .scheduling import CONTINUE, Decision, judge, judged


class Desk:
    """Receives what trials say.

    Args:
        journal: gets every event first.
        spec: objective and stop rule.
        search: told about search trials; confirmations and baselines do not concern it.
        watch: called with every recorded entry and every pulse, for the live table.
        meter: counts what is spent against the budget.
        ask_to_leave: lets every trial store its state and leave, when the budget says so.
        first: says when the first trials all fail alike.
        state: what is on record so far; brought up to date.
    """

    def __init__(
        self,
        journal: Journal,
        spec: SweepSpec,
        search: StudySearch,
        watch: Callable[[Entry], None] = lambda entry: None,
        meter: Meter | None = None,
        ask_to_leave: Callable[[], None] = lambda: None,
        first: FirstFailures | None = None,
        state: SweepState | None = None,
    ):
        self.journal, self.spec, self.search, self.watch = journal, spec, search, watch
        self.goals = Goals.of(spec)
        self.meter, self._ask_to_leave = meter or Meter(spec.budget), ask_to_leave
        self._first = first or FirstFailures()
        self.spent: Spent | None = None
        """The limit of the budget that was reached, once one is; or the failure that all trials share."""
        self.state = state or SweepState(keep_reports=False)
        self.open: set[str] = set()
        """Trials that this driver has handed out or is about to, and that have not ended since."""
        self._attempts: dict[str, Attempts] = defaultdict(Attempts)
        self._told: dict[str, list[float]] = defaultdict(list)
        self.ended = 0

    def propose(self, trial: str, event: TrialProposed) -> None:
        """A trial is about to be placed for the first time."""
        self.open.add(trial)
        self._record(event, trial)

    def reopen(self, trial: str) -> None:
        """A trial of an earlier driver goes on; what it already reported is known."""
        known = self.state.trials[trial]
        self.open.add(trial)
        lanes = known.request.lanes if known.request else None
        self._attempts[trial] = Attempts(memory_failures=known.memory_failures, lanes=lanes)
        if known.phase == "search":
            self._told.pop(trial, None)
            for step, latest in known.history:
                self._tell_rules(trial, step, self.goals.read(latest))

    def placed(self, trial: str, where: TrialPlaced) -> None:
        """A worker has taken the trial."""
        self._record(where, trial)

    def receive(
        self,
        trial: str,
        events: Sequence[Event],
        complete: bool,
        failure: Failure | None,
        left: bool = False,
    ) -> Decision:
        """Take in what a trial reports and decide whether it goes on.

        Args:
            complete: whether it has come to its end.
            failure: why it could not go on.
            left: whether it has stored its state and left, having been asked to.
        """
        if trial not in self.open:
            return Decision("stop", "cancelled", "unknown trial", "its end was recorded before")
        entry, decision = self.state.trials[trial], CONTINUE
        for event in events:
            if self._take(entry, event) and decision is CONTINUE:
                decision = self._judge(entry, event)
        if failure:
            return self.fail(trial, failure)
        if left and decision.action == "continue":
            decision = self._left()
        elif complete and decision.action == "continue":
            decision = Decision("stop", "finished", "end", "all steps done")
        elif decision.action == "continue" and (limit := self.meter.trial_limit(trial)):
            decision = Decision("stop", "pruned", limit.rule, limit.reason)
        if decision.action == "stop":
            self.end(trial, decision)
        elif entry.phase == "search" and self.spec.budget.running == "stop" and self.exhausted():
            self._ask_to_leave()
        return decision

    def fail(self, trial: str, failure: Failure) -> Decision:
        """A trial could not go on: it is retried, or ends with that failure.

        Raises:
            UserError: the disk is full. That is no fault of the trial, and the next ones would fare no better.
        """
        if trial not in self.open:
            return Decision("stop", "cancelled", "unknown trial", "its end was recorded before")
        if failure.failure_class == "disk_full":
            raise UserError(
                f"what {trial} has to keep cannot be written: {failure.reason}",
                fix="Free some disk space, then resume the sweep; nothing recorded before is lost.",
            )
        known, retries = self.state.trials[trial], self.spec.resources.retries
        seeds = max(1, len(known.seeds))
        verdict = failed_again(failure, self._attempts[trial], len(known.marks), seeds, retries)
        if isinstance(verdict, Retry):
            self._record(
                TrialRetried(failure=failure.failure_class, reason=verdict.reason, lanes=verdict.lanes), trial
            )
            return Decision("retry", "", "failure", verdict.reason, failure.failure_class, verdict.lanes)
        status = STATUSES.get(verdict.failure_class, "failed")
        decision = Decision("stop", status, "failure", verdict.reason, verdict.failure_class)
        self.end(trial, decision)
        return decision

    def exhausted(self) -> bool:
        """Whether the budget lets no further trial start; the first time, that is put on record."""
        if self.spent is None and (spent := self.meter.sweep_limit()):
            self._no_more(spent)
        return self.spent is not None

    def _no_more(self, spent: Spent) -> None:
        self.spent = spent
        self._record(BudgetSpent(rule=spent.rule, reason=spent.reason))

    def _left(self) -> Decision:
        if self.spent is None or (self.spec.budget.running == "finish" and self.spent.rule != SAME_FAILURE):
            return Decision("stop", "cancelled", "end", "stop requested")
        return Decision("stop", "cancelled", self.spent.rule, self.spent.reason)

    def end(self, trial: str, decision: Decision) -> None:
        """Close a trial."""
        if trial not in self.open:
            return
        entry = self.state.trials[trial]
        if decision.rule not in ("end", "failure"):
            self._record(TrialStopped(rule=decision.rule, reason=decision.reason), trial)
        known = self.goals.read(entry.latest)
        excess = self.goals.excess(known)
        objectives = [goal.metric for goal in self.goals.objectives]
        several = {
            "values": {name: known[name] for name in objectives if name in known},
            "excess": excess,
        }
        ending = TrialEnded(
            status=decision.status,  # type: ignore[arg-type]
            reason=decision.reason,
            value=entry.value,
            failure=decision.failure,
            **({} if self.goals.single else several),  # type: ignore[arg-type]
        )
        self._end(trial, ending)
        if entry.phase == "search":
            value = entry.value if len(objectives) == 1 else self.goals.values(known)
            self.search.tell(trial, decision.status, value, redacted(decision.reason), excess)
            if (said := self._first.take(trial, ending)) and self.spent is None:
                self._no_more(Spent(SAME_FAILURE, said))
                self._ask_to_leave()

    def answer(self, trial: str, original: str) -> None:
        """Close a proposal with what an earlier trial of the same configuration came to; nothing is run."""
        known = self.search.ending(original)
        values = known.values if len(self.goals.objectives) > 1 else next(iter(known.values), None)
        reason = f"same configuration as {original}"
        several: dict[str, Any] = {}
        if not self.goals.single:
            metrics = [goal.metric for goal in self.goals.objectives]
            several = {
                "values": dict(zip(metrics, known.values, strict=False)),
                "excess": dict(known.excess),
            }
        ending = {"status": known.status, "reason": reason, "value": next(iter(known.values), None)}
        self._end(trial, TrialEnded.model_validate({**ending, **several, "repeats": original}))
        self.search.tell(trial, known.status, values, reason, known.excess)

    def end_search(self, reason: str) -> None:
        """Nothing more is proposed, though fewer trials were tried than asked for."""
        self._record(SearchEnded(reason=reason))

    def _end(self, trial: str, event: TrialEnded) -> None:
        self.open.discard(trial)
        self._attempts.pop(trial, None)
        self._told.pop(trial, None)
        self._record(event, trial)
        if TrialStatus(event.status).is_final:
            self.state.trials[trial].forget()
        self.ended += 1

    def _take(self, trial: TrialState, event: Event) -> bool:
        """Record an event unless it is already on record; True when it was new."""
        if isinstance(event, UNRECORDED):
            self._show(Entry.model_construct(seq=-1, time=0.0, trial=trial.trial, event=event))
            return False
        if isinstance(event, Produced):
            event = event.model_copy(update={"path": f"trials/{trial.trial}/{event.path}"})
        if isinstance(event, MARKED) and mark(event) in trial.marks:
            return False
        self._record(event, trial.trial)
        return True

    def _judge(self, trial: TrialState, event: Event) -> Decision:
        if not isinstance(event, Report) or event.stage != trial.through or trial.phase != "search":
            return CONTINUE
        known = self.goals.read(trial.latest)
        value = self.goals.read(event.means()).get(self.spec.objective.metric)
        if value is None:
            return CONTINUE
        told = self._tell_rules(trial.trial, event.step, known)
        self._first.passed()
        if told is None and math.isfinite(value):
            return CONTINUE
        return judge(
            self.search,
            self.spec.stop,
            trial.trial,
            event.step,
            event.steps,
            value if told is None else told,
            self._told[trial.trial],
            self.spec.objective.direction == "maximize",
            self.goals.broken(known),
        )

    def _tell_rules(self, trial: str, step: int, known: Mapping[str, float]) -> float | None:
        """Have the stop rules know how a trial stands; return what they were told."""
        value = judged(self.goals, self.spec.stop, step, known)
        if value is not None:
            self._told[trial].append(value)
            if value == value:  # Optuna takes no NaN
                self.search.report(trial, step, value)
        return value

    def _record(self, event: Event, trial: str | None = None) -> None:
        self._show(self.journal.append(event, trial))

    def _show(self, entry: Entry) -> None:
        self.state.apply(entry)
        self.meter.take(entry)
        self.watch(entry)
