"""From events to tracker runs: what each run of a sweep should say, as plain values. Knows MLflow's limits, not MLflow.

A sweep is one run, each trial a child of it, each computed stage a run of its own. A pruned trial ends as KILLED, not
FINISHED: its last value was reached with less training, and whoever averages finished runs must not mix it in. The tag
``flowsweep.status`` always has the exact word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ...trainables.events import Evaluated, Event, Produced, Report, StageComputed, StageReused
from ..journal.events import (
    BudgetSpent,
    Entry,
    SessionBegan,
    SweepEnded,
    SweepResumed,
    SweepStarted,
    TrialEnded,
    TrialExtended,
    TrialPlaced,
    TrialProposed,
    TrialRetried,
    TrialStopped,
)
from ..journal.state import TrialStatus
from .text import MAX_PARAM, as_tags, as_text, fitted, flat, unix_ms

SWEEP = "sweep"

Steps = dict[str, dict[str, int]]
"""Run to series (``progress/refine``) to the last step sent."""


def trial_run(trial: str) -> str:
    """The name of a trial's run within its sweep."""
    return f"trial:{trial}"


def stage_run(key: str) -> str:
    """The name of a stage output's run within its sweep."""
    return f"stage:{key}"


@dataclass
class RunUpdate:
    """What some events add to one run.

    Attributes:
        title: shown in the tracker's tables.
        start_ms: unix milliseconds at which it began.
        params: never changed once sent.
        tags: the newest value counts.
        metrics: (key, value, unix milliseconds, step).
        dataset: name, fingerprint and source, when known and learnt from.
        links: tag to the name of the run it points at.
        artifacts: (path within the sweep's folder, folder in the tracker).
        texts: file name in the tracker to content.
        status: MLflow's word, when it changes; ``end_ms`` goes with it.
    """

    title: str = ""
    start_ms: int = 0
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    dataset: Mapping[str, Any] | None = None
    links: dict[str, str] = field(default_factory=dict)
    artifacts: list[tuple[str, str]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    status: str | None = None
    end_ms: int | None = None


def sweep_id(first: Entry) -> str:
    """Return an id for a sweep that no other sweep has, even one of the same name elsewhere, and that a resume keeps."""
    began = first.event if isinstance(first.event, SessionBegan) else SweepStarted()
    text = json.dumps([first.time, first.event.kind, began.name, began.host])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def translate(
    entries: Iterable[Entry], steps: Steps, shared: MutableMapping[str, Any], unfit: list[str]
) -> dict[str, RunUpdate]:
    """Return what to send for some entries, by run, in the order the runs first appear.

    Args:
        entries: consecutive entries of a journal.
        steps: brought up to date. A step at or before the last one sent is a repetition after a resume from a
            checkpoint and is left out, so that curves have one point per step.
        shared: what later trials take from ``sweep_started`` (what is learnt from, tags); brought up to date.
        unfit: gets a line for each entry that contradicts itself; it must not hold up the others.
    """
    translation = _Translation(steps, shared)
    for entry in entries:
        try:
            translation.take(entry)
        except (TypeError, ValueError, ArithmeticError) as error:
            unfit.append(f"entry {entry.seq} ({entry.event.kind}): {type(error).__name__} {error}")
    return translation.updates


class _Translation:
    """The updates that consecutive entries amount to."""

    def __init__(self, steps: Steps, shared: MutableMapping[str, Any]):
        self.steps, self.shared = steps, shared
        self.updates: dict[str, RunUpdate] = {}

    def _run(self, name: str) -> RunUpdate:
        return self.updates.setdefault(name, RunUpdate())

    def take(self, entry: Entry) -> None:
        """Add what one entry says."""
        event = entry.event
        if entry.trial is None:
            self._take_sweep(event, entry)
        else:
            self._take_trial(event, entry, trial_run(entry.trial))

    def _take_sweep(self, event: Event, entry: Entry) -> None:
        match event:
            case SweepStarted():
                self._sweep_started(event, entry)
            case SweepResumed():
                update = self._run(SWEEP)
                update.status, update.end_ms = "RUNNING", None
                update.tags |= {"flowsweep.status": "running"} | as_tags({"flowsweep.host": event.host})
            case SweepEnded():
                state = "FINISHED" if event.status == "finished" else "KILLED"
                self._end(self._run(SWEEP), state, event.status, event.reason, entry)
            case BudgetSpent():
                self._run(SWEEP).tags |= as_tags(
                    {"flowsweep.decision": f"no more trials by {event.rule}: {event.reason}"}
                )
            case Produced():
                self._run(SWEEP).artifacts.append(_artifact(event, None))

    def _take_trial(self, event: Event, entry: Entry, name: str) -> None:
        match event:
            case TrialProposed():
                self._trial_proposed(event, entry, name)
            case TrialPlaced():
                update = self._run(name)
                update.status, update.end_ms = "RUNNING", None
                update.tags |= {"flowsweep.status": "running"}
                update.tags |= as_tags({"flowsweep.host": event.node, "flowsweep.device": event.device})
            case Report():
                self._report(event, entry, name)
            case StageComputed():
                self._stage_computed(event, entry)
            case StageReused():
                self._stage_reused(event, entry, name)
            case TrialRetried():
                self._run(name).tags |= as_tags(
                    {"flowsweep.retried": f"after {event.failure}: {event.reason}"}
                )
                if event.afresh:  # what follows is another course over the same steps
                    self.steps.pop(name, None)
            case TrialExtended():
                # Params are never changed once sent; how far it goes now stands beside them.
                self._run(name).tags |= as_tags({f"flowsweep.extended.{event.stage}.steps": event.steps})
            case TrialStopped():
                self._run(name).tags |= as_tags(
                    {"flowsweep.decision": f"stop by {event.rule}: {event.reason}"}
                )
            case TrialEnded():
                self._trial_ended(event, entry, name)
            case Produced():
                self._run(name).artifacts.append(_artifact(event, entry.trial))

    def _sweep_started(self, event: SweepStarted, entry: Entry) -> None:
        update, shared = self._run(SWEEP), self.shared
        source = event.source
        kind = source.get("kind", "dataset")
        shared["dataset"] = dict(source) if kind == "dataset" else {}
        shared["source"] = {kind: source["name"]} if source.get("name") else {}
        shared["tags"] = as_tags(
            {
                "mlflow.source.name": "flowsweep",
                "mlflow.source.git.commit": event.code_version,
                "flowsweep.code_version": event.code_version,
                "flowsweep.version": event.flowsweep_version,
                f"flowsweep.{kind}": source.get("name"),
                f"flowsweep.{kind}_fingerprint": source.get("fingerprint"),
                "flowsweep.device": event.device,
                "flowsweep.host": event.host,
            }
        )
        update.title, update.start_ms = event.name or SWEEP, unix_ms(entry)
        update.tags |= {**shared["tags"], "flowsweep.status": "running"}
        update.dataset = shared["dataset"] or None
        for name in ("spec", "plan", "versions"):
            if value := getattr(event, name):
                update.texts[f"{name}.json"] = json.dumps(value, indent=2, default=str)

    def _trial_proposed(self, event: TrialProposed, entry: Entry, name: str) -> None:
        update = self._run(name)
        update.title, update.start_ms = str(entry.trial), unix_ms(entry)
        values = {**self.shared.get("source", {}), **flat(event.configs), **event.params}
        update.params |= {fitted(key): as_text(value)[:MAX_PARAM] for key, value in values.items()}
        update.tags |= self.shared.get("tags", {})
        update.tags |= as_tags(
            {
                "flowsweep.status": "running",
                "flowsweep.phase": event.phase,
                "flowsweep.number": event.number,
                "flowsweep.seeds": list(event.seeds),
                "flowsweep.through": event.through,
                "flowsweep.confirms": event.confirms,
            }
        )
        update.dataset = self.shared.get("dataset") or None
        self.shared.setdefault("seeds", {})[str(entry.trial)] = len(event.seeds)

    def _several_seeds(self, trial: str | None, reported: int = 0) -> bool:
        return self.shared.get("seeds", {}).get(trial, reported) > 1

    def _report(self, event: Report, entry: Entry, name: str) -> None:
        series = f"{event.kind}/{event.stage}/{','.join(map(str, event.seeds))}"
        sent = self.steps.setdefault(name, {})
        if event.step <= sent.get(series, -1):
            return
        sent[series] = event.step
        metrics, at, step = self._run(name).metrics, unix_ms(entry), event.step
        # A stage shared with other trials is trained one seed at a time; its curve is then not the trial's mean.
        several = self._several_seeds(entry.trial, len(event.seeds))
        for metric, lanes in event.metrics.items():
            key = fitted(f"{event.stage}/{metric}")
            pairs = list(zip(event.seeds, lanes, strict=True))
            if not several or len(event.seeds) > 1:
                metrics.append((key, event.mean(metric), at, step))
            if several:
                metrics.extend((f"{key}.seed_{seed}", float(value), at, step) for seed, value in pairs)
        if isinstance(event, Evaluated):
            metrics.append((f"{event.stage}/episodes_spent", float(event.episodes_spent), at, step))

    def _stage_computed(self, event: StageComputed, entry: Entry) -> None:
        update, at = self._run(stage_run(event.key)), unix_ms(entry)
        update.title = f"{event.stage} {event.key[:8]}"
        update.start_ms = at - int(1000 * event.wall_s)
        update.tags |= self.shared.get("tags", {})
        update.tags |= as_tags(
            {
                "flowsweep.status": "finished",
                "flowsweep.stage": event.stage,
                "flowsweep.seed": event.seed,
                "flowsweep.computed_by": entry.trial,
            }
        )
        update.dataset = self.shared.get("dataset") or None
        costs = ("cpu_s", "wall_s", "bytes", "steps")
        update.metrics += [(name, float(getattr(event, name)), at, 0) for name in costs]
        update.status, update.end_ms = "FINISHED", at
        self._link(event, entry)

    def _stage_reused(self, event: StageReused, entry: Entry, name: str) -> None:
        self._link(event, entry)
        # Each seed has its own output; under one key they would be points of one step, of which MLflow shows one.
        several = self._several_seeds(entry.trial)
        key = f"{event.stage}/saved_cpu_s" + (f".seed_{event.seed}" if several else "")
        self._run(name).metrics.append((key, float(event.saved_cpu_s), unix_ms(entry), 0))

    def _link(self, event: StageComputed | StageReused, entry: Entry) -> None:
        tag = f"flowsweep.stage.{event.stage}.seed_{event.seed}"
        self._run(trial_run(entry.trial or "")).links[tag] = stage_run(event.key)

    def _trial_ended(self, event: TrialEnded, entry: Entry, name: str) -> None:
        update, status = self._run(name), TrialStatus(event.status)
        self._end(update, status.mlflow, event.status, event.reason, entry)
        update.tags |= as_tags({"flowsweep.failure": event.failure})
        # A trial that only left goes on later, and its value is the one it ends with then.
        if event.value is not None and status.is_final:
            update.metrics.append(("value", event.value, unix_ms(entry), 0))

    def _end(self, update: RunUpdate, state: str, status: str, reason: str, entry: Entry) -> None:
        update.status, update.end_ms = state, unix_ms(entry)
        update.tags |= as_tags({"flowsweep.status": status, "flowsweep.reason": reason})


def _artifact(event: Produced, trial: str | None) -> tuple[str, str]:
    """Return where a file lies within the sweep's folder, and the folder it goes to in the tracker."""
    path = PurePosixPath(event.path)
    # The trial and the role are said by the run and the folder; repeating them would only lengthen the path.
    inner = [
        part for part in path.parent.parts if part not in ("trials", trial, event.role, f"{event.role}s")
    ]
    return str(path), "/".join([event.role, *inner])
