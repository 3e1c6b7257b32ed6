"""From facts to tracker runs: what each run of a sweep should say, as plain values. Knows MLflow's limits, not MLflow.

A sweep is one run, each trial a child of it, each computed stage a run of its own. A pruned trial ends as KILLED, not
FINISHED: its last value was reached with less training, and whoever averages finished runs must not mix it in. The tag
``flowsweep.status`` always has the exact word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ...trainables.source_ref import KINDS
from ..record.journal import Fact
from ..running.failures import class_of
from .text import MAX_PARAM, as_tags, as_text, fitted, flat, unix_ms

SWEEP = "sweep"
RUN_STATUS = {
    "finished": "FINISHED",
    "pruned": "KILLED",
    "cancelled": "KILLED",
    "preempted": "KILLED",
    "diverged": "FAILED",
    "out_of_memory": "FAILED",
    "failed": "FAILED",
}
LEFT = frozenset({"cancelled", "preempted"})
"""Endings of trials that a resume takes up again."""

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
    """What some facts add to one run.

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


def sweep_id(first: Fact) -> str:
    """An id for a sweep that no other sweep has, even one of the same name elsewhere, and that a resume keeps."""
    text = json.dumps([first.time, first.kind, first.data.get("name"), first.data.get("host")])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def translate(
    facts: Iterable[Fact], steps: Steps, shared: MutableMapping[str, Any], unfit: list[str]
) -> dict[str, RunUpdate]:
    """What to send for some facts, by run, in the order the runs first appear.

    Args:
        facts: consecutive facts of a journal.
        steps: brought up to date. A step at or before the last one sent is a repetition after a resume from a
            checkpoint and is left out, so that curves have one point per step.
        shared: what later trials take from ``sweep_started`` (what is learnt from, tags); brought up to date.
        unfit: gets a line for each fact that does not say what its kind should; it must not hold up the others.
    """
    updates: dict[str, RunUpdate] = {}
    for fact in facts:
        handler = _HANDLERS.get(fact.kind)
        if handler is None:
            continue
        try:
            handler(fact, lambda name: updates.setdefault(name, RunUpdate()), steps, shared)
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            unfit.append(f"fact {fact.seq} ({fact.kind}): {type(error).__name__} {error}")
    return updates


_Run = Callable[[str], RunUpdate]


def _sweep_started(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    data, update = fact.data, run(SWEEP)
    kind = next((kind for kind in KINDS if data.get(kind)), "dataset")
    source = data.get(kind) or {}
    shared["dataset"] = dict(source) if kind == "dataset" else {}
    shared["source"] = {kind: source["name"]} if source.get("name") else {}
    shared["tags"] = as_tags(
        {
            "mlflow.source.name": "flowsweep",
            "mlflow.source.git.commit": data.get("code_version"),
            "flowsweep.code_version": data.get("code_version"),
            "flowsweep.version": data.get("flowsweep_version"),
            f"flowsweep.{kind}": source.get("name"),
            f"flowsweep.{kind}_fingerprint": source.get("fingerprint"),
            "flowsweep.device": data.get("device"),
            "flowsweep.host": data.get("host"),
        }
    )
    update.title, update.start_ms = str(data.get("name", SWEEP)), unix_ms(fact)
    update.tags |= {**shared["tags"], "flowsweep.status": "running"}
    update.dataset = shared["dataset"] or None
    for name in ("spec", "plan", "versions"):
        if data.get(name):
            update.texts[f"{name}.json"] = json.dumps(data[name], indent=2, default=str)


def _sweep_resumed(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    update = run(SWEEP)
    update.status, update.end_ms = "RUNNING", None
    update.tags |= {"flowsweep.status": "running"} | as_tags({"flowsweep.host": fact.data.get("host")})


def _sweep_ended(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    _end(fact, run(SWEEP))


def _trial_proposed(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    data, update = fact.data, run(trial_run(fact.trial or ""))
    update.title, update.start_ms = str(fact.trial), unix_ms(fact)
    values = {**shared.get("source", {}), **flat(data.get("configs", {})), **data.get("params", {})}
    update.params |= {fitted(key): as_text(value)[:MAX_PARAM] for key, value in values.items()}
    update.tags |= shared.get("tags", {})
    update.tags |= as_tags(
        {
            "flowsweep.status": "running",
            "flowsweep.phase": data.get("phase"),
            "flowsweep.number": data.get("number"),
            "flowsweep.seeds": data.get("seeds"),
            "flowsweep.through": data.get("through"),
            "flowsweep.confirms": data.get("confirms"),
        }
    )
    update.dataset = shared.get("dataset") or None
    shared["seeds"] = {**shared.get("seeds", {}), str(fact.trial): list(data.get("seeds", ()))}


def _trial_placed(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    update = run(trial_run(fact.trial or ""))
    update.status, update.end_ms = "RUNNING", None
    update.tags |= {"flowsweep.status": "running"}
    update.tags |= as_tags(
        {"flowsweep.host": fact.data.get("node"), "flowsweep.device": fact.data.get("device")}
    )


def _measured(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    data, name = fact.data, trial_run(fact.trial or "")
    seeds, step = list(data.get("seeds", ())), int(data["step"])
    series = f"{fact.kind}/{data['stage']}/{','.join(map(str, seeds))}"
    sent = steps.setdefault(name, {})
    if step <= sent.get(series, -1):
        return
    sent[series] = step
    metrics = run(name).metrics
    # A stage shared with other trials is trained one seed at a time; its curve is then not the trial's mean.
    several = len(shared.get("seeds", {}).get(fact.trial, seeds)) > 1
    for metric, lanes in data.get("metrics", {}).items():
        key = fitted(f"{data['stage']}/{metric}")
        if not several or len(seeds) > 1:
            metrics.append((key, sum(lanes) / len(lanes), unix_ms(fact), step))
        if several:
            pairs = zip(seeds, lanes, strict=True)
            metrics.extend((f"{key}.seed_{seed}", float(value), unix_ms(fact), step) for seed, value in pairs)
    if "episodes_spent" in data:
        metrics.append(
            (f"{data['stage']}/episodes_spent", float(data["episodes_spent"]), unix_ms(fact), step)
        )


def _stage_computed(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    data, update = fact.data, run(stage_run(fact.data["key"]))
    wall_ms = int(1000 * data.get("wall_s", 0))
    update.title, update.start_ms = f"{data['stage']} {data['key'][:8]}", unix_ms(fact) - wall_ms
    update.tags |= shared.get("tags", {})
    update.tags |= as_tags(
        {
            "flowsweep.status": "finished",
            "flowsweep.stage": data["stage"],
            "flowsweep.seed": data["seed"],
            "flowsweep.computed_by": fact.trial,
        }
    )
    update.dataset = shared.get("dataset") or None
    costs = ("cpu_s", "wall_s", "bytes", "steps")
    update.metrics += [(name, float(data[name]), unix_ms(fact), 0) for name in costs if name in data]
    update.status, update.end_ms = "FINISHED", unix_ms(fact)
    _link(fact, run)


def _stage_reused(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    data, update = fact.data, run(trial_run(fact.trial or ""))
    _link(fact, run)
    # Each seed has its own output; under one key they would be points of one step, of which MLflow shows one.
    several = len(shared.get("seeds", {}).get(fact.trial, ())) > 1
    key = f"{data['stage']}/saved_cpu_s" + (f".seed_{data['seed']}" if several else "")
    update.metrics.append((key, float(data["saved_cpu_s"]), unix_ms(fact), 0))


def _link(fact: Fact, run: _Run) -> None:
    tag = f"flowsweep.stage.{fact.data['stage']}.seed_{fact.data['seed']}"
    run(trial_run(fact.trial or "")).links[tag] = stage_run(fact.data["key"])


def _trial_retried(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    update = run(trial_run(fact.trial or ""))
    update.tags |= as_tags({"flowsweep.retried": f"after {fact.data['class']}: {fact.data['reason']}"})
    if fact.data.get("afresh"):  # what follows is another course over the same steps
        steps.pop(trial_run(fact.trial or ""), None)


def _trial_extended(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    # Params are never changed once sent; how far it goes now stands beside them.
    data = fact.data
    run(trial_run(fact.trial or "")).tags |= as_tags(
        {f"flowsweep.extended.{data['stage']}.steps": data["steps"]}
    )


def _decision(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    run(trial_run(fact.trial) if fact.trial else SWEEP).tags |= as_tags(
        {
            "flowsweep.decision": f"{fact.data.get('action')} by {fact.data.get('rule')}: {fact.data.get('reason')}"
        }
    )


def _trial_ended(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    update = run(trial_run(fact.trial or ""))
    _end(fact, update)
    update.tags |= as_tags({"flowsweep.failure": class_of(fact.data)})
    # A trial that only left goes on later, and its value is the one it ends with then.
    if isinstance(fact.data.get("value"), int | float) and fact.data["status"] not in LEFT:
        update.metrics.append(("value", float(fact.data["value"]), unix_ms(fact), 0))


def _artifact(fact: Fact, run: _Run, steps: Steps, shared: MutableMapping[str, Any]) -> None:
    path = PurePosixPath(fact.data["path"])
    role = str(fact.data["role"])
    # The trial and the role are said by the run and the folder; repeating them would only lengthen the path.
    inner = [part for part in path.parent.parts if part not in ("trials", fact.trial, role, f"{role}s")]
    name = trial_run(fact.trial) if fact.trial else SWEEP
    run(name).artifacts.append((str(path), "/".join([role, *inner])))


_HANDLERS = {
    "sweep_started": _sweep_started,
    "sweep_resumed": _sweep_resumed,
    "sweep_ended": _sweep_ended,
    "trial_proposed": _trial_proposed,
    "trial_placed": _trial_placed,
    "progress": _measured,
    "evaluated": _measured,
    "stage_computed": _stage_computed,
    "stage_reused": _stage_reused,
    "decision": _decision,
    "trial_retried": _trial_retried,
    "trial_extended": _trial_extended,
    "trial_ended": _trial_ended,
    "artifact": _artifact,
}


def _end(fact: Fact, update: RunUpdate) -> None:
    status = str(fact.data.get("status"))
    update.status, update.end_ms = RUN_STATUS.get(status, "KILLED"), unix_ms(fact)
    update.tags |= as_tags({"flowsweep.status": status, "flowsweep.reason": fact.data.get("reason")})
