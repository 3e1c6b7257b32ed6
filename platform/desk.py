"""Where every fact about a trial passes, in one order: the journal, then the search, then the decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .journal import Fact, Journal
from .scheduling import CONTINUE, Decision, judge
from .search import StudySearch
from .spec import SweepSpec

UNRECORDED = frozenset({"pulse", "waiting"})
"""Events shown while running that say nothing worth keeping."""


@dataclass
class OpenTrial:
    """A trial under way.

    Attributes:
        stage: the stage it is scored on: the objective's, or a baseline's own.
        value: its objective when last scored.
        seen: steps already on record by (kind, stage, step), so that what is repeated after a crash is not doubled.
    """

    trial: str
    phase: str
    stage: str
    value: float | None = None
    seen: set[tuple] = field(default_factory=set)


class Desk:
    """Receives what trials say.

    Args:
        journal: gets every fact first.
        spec: objective and stop rule.
        search: told about search trials; confirmations and baselines do not concern it.
        watch: called with every recorded fact and every pulse, for the live table.
    """

    def __init__(
        self,
        journal: Journal,
        spec: SweepSpec,
        search: StudySearch,
        watch: Callable[[Fact], None] = lambda fact: None,
    ):
        self.journal, self.spec, self.search, self.watch = journal, spec, search, watch
        self.open: dict[str, OpenTrial] = {}
        self.ended = 0

    def propose(self, trial: str, phase: str, facts: Mapping[str, Any]) -> None:
        """A trial is about to be placed for the first time."""
        self.open[trial] = OpenTrial(trial, phase, facts["through"])
        self._record("trial_proposed", trial, {"phase": phase, **facts})

    def reopen(self, trial: str, phase: str, recorded: Sequence[Fact]) -> None:
        """A trial of an earlier driver goes on; what it already reported is known."""
        proposed = next(fact for fact in recorded if fact.kind == "trial_proposed")
        entry = self.open[trial] = OpenTrial(trial, phase, proposed.data["through"])
        for fact in recorded:
            event = {"kind": fact.kind, **fact.data}
            entry.seen.add(_mark(event))
            if (value := self._objective(entry, event)) is not None:
                entry.value = value

    def placed(self, trial: str, where: Mapping[str, Any]) -> None:
        """A worker has taken the trial up."""
        self._record("trial_placed", trial, where)

    def receive(
        self,
        trial: str,
        events: Sequence[Mapping[str, Any]],
        complete: bool,
        failure: Mapping[str, str] | None,
    ) -> Decision:
        """Take in what a trial reports and decide whether it goes on."""
        entry = self.open.get(trial)
        if entry is None:
            return Decision("stop", "cancelled", "unknown trial", "its end was recorded before")
        decision = CONTINUE
        for event in events:
            if self._take(entry, event) and decision is CONTINUE:
                decision = self._judge(entry, event)
        if failure:
            decision = Decision("stop", failure["status"], "failure", failure["reason"])
        elif complete and decision.action == "continue":
            decision = Decision("stop", "finished", "end", "all steps done")
        if decision.action == "stop":
            self.end(trial, decision)
        return decision

    def end(self, trial: str, decision: Decision) -> None:
        """Close a trial."""
        entry = self.open.pop(trial, None)
        if entry is None:
            return
        if decision.rule not in ("end", "failure"):
            self._record(
                "decision", trial, {"action": "stop", "rule": decision.rule, "reason": decision.reason}
            )
        self._record(
            "trial_ended", trial, {"status": decision.status, "reason": decision.reason, "value": entry.value}
        )
        self.ended += 1
        if entry.phase == "search":
            self.search.tell(trial, decision.status, entry.value, decision.reason)

    def _take(self, entry: OpenTrial, event: Mapping[str, Any]) -> bool:
        """Record an event unless it is already on record; True when it was new."""
        kind, data = event["kind"], {key: value for key, value in event.items() if key != "kind"}
        if kind in UNRECORDED:
            self.watch(Fact(-1, 0.0, kind, entry.trial, data))
            return False
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
        if entry.phase != "search":
            return CONTINUE
        if value == value:  # Optuna takes no NaN
            self.search.report(entry.trial, event["step"], value)
        return judge(self.search, self.spec.stop, entry.trial, event["step"], event["steps"], value)

    def _objective(self, entry: OpenTrial, event: Mapping[str, Any]) -> float | None:
        metric = self.spec.objective.metric.split("/", 1)[1]
        if event.get("stage") != entry.stage or metric not in event.get("metrics", ()):
            return None
        values = event["metrics"][metric]
        return sum(values) / len(values)

    def _record(self, kind: str, trial: str | None, data: Mapping[str, Any]) -> None:
        self.watch(self.journal.append(kind, trial, **data))


def _mark(event: Mapping[str, Any]) -> tuple:
    return (
        event["kind"],
        event.get("stage"),
        event.get("step"),
        event.get("key"),
        event.get("path"),
        event.get("seed"),
    )
