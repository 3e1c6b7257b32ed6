"""Where every fact about a trial passes, in one order: the journal, then the search, then the decision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...trainables.errors import UserError
from ...trainables.failures import Failure
from ...trainables.redaction import redacted
from ..record.journal import Fact, Journal
from ..search.bridge import StudySearch
from ..sweep.goals import Goals
from ..sweep.spec import SweepSpec
from .budget import Meter, Spent
from .failures import STATUSES, Attempts, Retry, failed_again
from .first_failures import SAME_FAILURE, FirstFailures
from .scheduling import CONTINUE, Decision, judge, judged

UNRECORDED = frozenset({"pulse", "waiting"})
"""Events shown while running that say nothing worth keeping."""
REPEATED = frozenset({"continued"})
"""Events that may come again with the same words and mean something new."""


@dataclass
class OpenTrial:
    """A trial under way.

    Attributes:
        stage: the stage it is scored on: the objective's, or a baseline's own.
        value: its leading objective when last scored.
        known: every metric the sweep looks at, when last reported.
        history: what the stop rules were told at every evaluation.
        seeds: how many it trains.
        attempts: how often it was lost or ran out of memory.
        seen: steps already on record by (kind, stage, step), so that what is repeated after a crash is not doubled.
    """

    trial: str
    phase: str
    stage: str
    value: float | None = None
    known: dict[str, float] = field(default_factory=dict)
    history: list[float] = field(default_factory=list)
    seeds: int = 1
    attempts: Attempts = field(default_factory=Attempts)
    seen: set[tuple] = field(default_factory=set)


class Desk:
    """Receives what trials say.

    Args:
        journal: gets every fact first.
        spec: objective and stop rule.
        search: told about search trials; confirmations and baselines do not concern it.
        watch: called with every recorded fact and every pulse, for the live table.
        meter: counts what is spent against the budget.
        ask_to_leave: lets every trial store its state and leave, when the budget says so.
        first: says when the first trials all fail alike.
    """

    def __init__(
        self,
        journal: Journal,
        spec: SweepSpec,
        search: StudySearch,
        watch: Callable[[Fact], None] = lambda fact: None,
        meter: Meter | None = None,
        ask_to_leave: Callable[[], None] = lambda: None,
        first: FirstFailures | None = None,
    ):
        self.journal, self.spec, self.search, self.watch = journal, spec, search, watch
        self.goals = Goals.of(spec)
        self.meter, self._ask_to_leave = meter or Meter(spec.budget), ask_to_leave
        self._first = first or FirstFailures()
        self.spent: Spent | None = None
        """The limit of the budget that was reached, once one is; or the failure that all trials share."""
        self.open: dict[str, OpenTrial] = {}
        self.ended = 0

    def propose(self, trial: str, phase: str, facts: Mapping[str, Any]) -> None:
        """A trial is about to be placed for the first time."""
        self.open[trial] = OpenTrial(trial, phase, facts["through"], seeds=len(facts.get("seeds", (0,))))
        self._record("trial_proposed", trial, {"phase": phase, **facts})

    def reopen(self, trial: str, phase: str, recorded: Sequence[Fact]) -> None:
        """A trial of an earlier driver goes on; what it already reported is known."""
        proposed = next(fact for fact in recorded if fact.kind == "trial_proposed")
        seeds = len(proposed.data.get("seeds", (0,)))
        entry = self.open[trial] = OpenTrial(trial, phase, proposed.data["through"], seeds=seeds)
        for fact in recorded:
            self._recall(entry, fact)
        entry.attempts.losses, entry.attempts.known = 0, -1

    def _recall(self, entry: OpenTrial, fact: Fact) -> None:
        if fact.kind == "trial_retried":
            if fact.data.get("asked"):
                entry.attempts = Attempts()
            entry.attempts.memory_failures += fact.data["class"] == "out_of_memory" and not fact.data["asked"]
            entry.attempts.lanes = fact.data.get("lanes")
            return
        event = {"kind": fact.kind, **fact.data}
        if "path" in event:
            event["path"] = event["path"].removeprefix(f"trials/{entry.trial}/")
        entry.seen.add(_mark(event))
        if (value := self._objective(entry, event)) is not None:
            entry.value = value
            self._tell_rules(entry, event["step"])

    def placed(self, trial: str, where: Mapping[str, Any]) -> None:
        """A worker has taken the trial up."""
        self._record("trial_placed", trial, where)

    def receive(
        self,
        trial: str,
        events: Sequence[Mapping[str, Any]],
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
        entry = self.open.get(trial)
        if entry is None:
            return Decision("stop", "cancelled", "unknown trial", "its end was recorded before")
        decision = CONTINUE
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
        """A trial could not go on: it is taken up again, or ends with that failure.

        Raises:
            UserError: the disk is full. That is no fault of the trial, and the next ones would fare no better.
        """
        entry = self.open.get(trial)
        if entry is None:
            return Decision("stop", "cancelled", "unknown trial", "its end was recorded before")
        if failure.failure_class == "disk_full":
            raise UserError(
                f"what {trial} has to keep cannot be written: {failure.reason}",
                fix="Free some disk space, then resume the sweep; nothing recorded before is lost.",
            )
        known, retries = len(entry.seen), self.spec.resources.retries
        verdict = failed_again(failure, entry.attempts, known, entry.seeds, retries)
        if isinstance(verdict, Retry):
            said = {"class": failure.failure_class, "reason": verdict.reason}
            self._record("trial_retried", trial, {**said, "lanes": verdict.lanes, "asked": False})
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
        self._record(
            "decision", None, {"action": "no_more_trials", "rule": spent.rule, "reason": spent.reason}
        )

    def _left(self) -> Decision:
        if self.spent is None or (self.spec.budget.running == "finish" and self.spent.rule != SAME_FAILURE):
            return Decision("stop", "cancelled", "end", "stop requested")
        return Decision("stop", "cancelled", self.spent.rule, self.spent.reason)

    def end(self, trial: str, decision: Decision) -> None:
        """Close a trial."""
        entry = self.open.pop(trial, None)
        if entry is None:
            return
        if decision.rule not in ("end", "failure"):
            self._record(
                "decision", trial, {"action": "stop", "rule": decision.rule, "reason": decision.reason}
            )
        ending = {"status": decision.status, "reason": decision.reason, "value": entry.value}
        if decision.failure:
            ending["failure"] = decision.failure
        excess = self.goals.excess(entry.known)
        if not self.goals.single:
            objectives = [goal.metric for goal in self.goals.objectives]
            ending["values"] = {name: entry.known[name] for name in objectives if name in entry.known}
            ending["excess"] = excess
        self._record("trial_ended", trial, ending)
        self.ended += 1
        if entry.phase == "search":
            self.search.tell(trial, decision.status, self._values(entry), redacted(decision.reason), excess)
            if (said := self._first.take(trial, ending)) and self.spent is None:
                self._no_more(Spent(SAME_FAILURE, said))
                self._ask_to_leave()

    def answer(self, trial: str, original: str) -> None:
        """Close a proposal with what an earlier trial of the same configuration came to; nothing is run."""
        entry, known = self.open.pop(trial), self.search.ending(original)
        values = known.values if len(self.goals.objectives) > 1 else next(iter(known.values), None)
        reason = f"same configuration as {original}"
        ending = {"status": known.status, "reason": reason, "value": next(iter(known.values), None)}
        if not self.goals.single:
            metrics = [goal.metric for goal in self.goals.objectives]
            ending |= {
                "values": dict(zip(metrics, known.values, strict=False)),
                "excess": dict(known.excess),
            }
        self._record("trial_ended", entry.trial, {**ending, "repeats": original})
        self.ended += 1
        self.search.tell(trial, known.status, values, reason, known.excess)

    def end_search(self, reason: str) -> None:
        """Nothing more is proposed, though fewer trials were tried than asked for."""
        self._record("search_ended", None, {"reason": reason})

    def _values(self, entry: OpenTrial) -> float | Sequence[float] | None:
        return entry.value if len(self.goals.objectives) == 1 else self.goals.values(entry.known)

    def _take(self, entry: OpenTrial, event: Mapping[str, Any]) -> bool:
        """Record an event unless it is already on record; True when it was new."""
        kind, data = event["kind"], {key: value for key, value in event.items() if key != "kind"}
        if kind in UNRECORDED:
            fact = Fact(-1, 0.0, kind, entry.trial, data)
            self.meter.take(fact)
            self.watch(fact)
            return False
        if kind not in REPEATED:
            if _mark(event) in entry.seen:
                return False
            entry.seen.add(_mark(event))
        if kind == "artifact":
            data["path"] = f"trials/{entry.trial}/{data['path']}"
        self._record(kind, entry.trial, data)
        return True

    def _judge(self, entry: OpenTrial, event: Mapping[str, Any]) -> Decision:
        value = self._objective(entry, event)
        if value is None:
            return CONTINUE
        entry.value = value
        told = self._tell_rules(entry, event["step"])
        if entry.phase != "search":
            return CONTINUE
        self._first.passed()
        if told is None and math.isfinite(value):
            return CONTINUE
        return judge(
            self.search,
            self.spec.stop,
            entry.trial,
            event["step"],
            event["steps"],
            value if told is None else told,
            entry.history,
            self.spec.objective.direction == "maximize",
            self.goals.broken(entry.known),
        )

    def _tell_rules(self, entry: OpenTrial, step: int) -> float | None:
        """Have the stop rules know how a trial stands; what they were told."""
        value = judged(self.goals, self.spec.stop, step, entry.known)
        if value is not None:
            entry.history.append(value)
            if entry.phase == "search" and value == value:  # Optuna takes no NaN
                self.search.report(entry.trial, step, value)
        return value

    def _objective(self, entry: OpenTrial, event: Mapping[str, Any]) -> float | None:
        """The leading objective, where an event reports it; whatever else is looked at is kept on the way."""
        if event.get("stage") != entry.stage:
            return None
        reported = self.goals.read(event.get("metrics", {}))
        entry.known |= reported
        return reported.get(self.spec.objective.metric)

    def _record(self, kind: str, trial: str | None, data: Mapping[str, Any]) -> None:
        fact = self.journal.append(kind, trial, **data)
        self.meter.take(fact)
        self.watch(fact)


def _mark(event: Mapping[str, Any]) -> tuple:
    return (
        event["kind"],
        event.get("stage"),
        event.get("step"),
        event.get("key"),
        event.get("path"),
        event.get("seed"),
        tuple(event.get("seeds") or ()),  # a shared stage is trained one seed at a time, over the same steps
        event.get("reason"),  # an output that was damaged since is computed by the same trial again
    )
