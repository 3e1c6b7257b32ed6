"""Where MLflow says something else than the journal. What it should hold is worked out here anew, not by what sends it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ..paths import SweepPaths
from ..record.journal import Fact, read
from ..tracking.place import Place
from ..tracking.runs import sweep_id
from .checks import MEASURED, OPEN, mean

RUN_STATES = {"finished": "FINISHED", "pruned": "KILLED"}


def tracker_differs(paths: SweepPaths, uri: str) -> list[str]:
    """Where MLflow says something else than the journal, once everything has been sent."""
    from mlflow import MlflowClient

    facts, client = list(read(paths.journal)), MlflowClient(uri)
    place = Place.load(paths.tracking)
    experiment = client.get_experiment_by_name(place.target[1])
    if experiment is None:
        return [f"MLflow has no experiment {place.target[1]}"]
    query = f"tags.`flowsweep.sweep_id` = '{sweep_id(facts[0])}'"
    runs = list(client.search_runs([experiment.experiment_id], query, max_results=1000))
    names = Counter(run.data.tags["flowsweep.run"] for run in runs)
    wanted = _runs_wanted(facts)
    wrong = [f"MLflow refused: {what}" for what in place.refused]
    wrong += [
        f"MLflow has {names[name]} runs for {name}"
        for name in wanted.keys() | names
        if names[name] != (name in wanted)
    ]
    for run in runs:
        name = run.data.tags["flowsweep.run"]
        wrong += _run_state(run, name, wanted.get(name))
        if name.startswith("trial:"):
            mine = [f for f in facts if f.trial == name.removeprefix("trial:")]
            wrong += _curves(client, run, name, mine)
    return wrong


def _runs_wanted(facts: Sequence[Fact]) -> dict[str, str]:
    """Run to the word its status tag should have."""
    wanted = {}
    for fact in facts:
        if fact.kind == "trial_proposed":
            wanted[f"trial:{fact.trial}"] = "running"
        elif fact.kind == "trial_ended":
            wanted[f"trial:{fact.trial}"] = fact.data["status"]
        elif fact.kind == "stage_computed":
            wanted[f"stage:{fact.data['key']}"] = "finished"
        elif fact.kind == "sweep_ended":
            wanted["sweep"] = fact.data["status"]
    return wanted


def _run_state(run: Any, name: str, word: str | None) -> Iterator[str]:
    said = run.data.tags.get("flowsweep.status")
    if word is None:
        return
    state = "KILLED" if word in (*OPEN, "interrupted") else RUN_STATES.get(word, "FAILED")
    if said != word or run.info.status != state:
        yield f"MLflow has {name} as {said} ({run.info.status}), by the journal it is {word} ({state})"


def _curves(client: Any, run: Any, name: str, facts: Sequence[Fact]) -> Iterator[str]:
    wanted = _curves_wanted(facts)
    for key, points in wanted.items():
        history = client.get_metric_history(run.info.run_id, key)
        kept = Counter((point.step, repr(point.value)) for point in history)
        if kept != Counter((step, repr(value)) for step, value in points.items()):
            yield f"MLflow has {len(history)} points of {key} of {name}, the journal {len(points)}, or others"
        last = points[max(points)]
        if repr(run.data.metrics.get(key)) != repr(last):
            yield f"MLflow has {run.data.metrics.get(key)} as the last {key} of {name}, the journal {last}"
    if strange := set(run.data.metrics) - set(wanted):
        yield f"MLflow has {', '.join(sorted(strange))} of {name}, the journal does not"


def _curves_wanted(facts: Sequence[Fact]) -> dict[str, dict[int, float]]:
    """Metric to step to value, as MLflow should have it for one trial."""
    wanted: dict[str, dict[int, float]] = defaultdict(dict)
    several = False
    for fact in facts:
        data = fact.data
        if fact.kind == "trial_proposed":
            several = len(data["seeds"]) > 1
        elif fact.kind in MEASURED:
            for metric, lanes in data["metrics"].items():
                key = f"{data['stage']}/{metric}"
                if not several or len(lanes) > 1:
                    wanted[key][data["step"]] = mean(lanes)
                for seed, value in zip(data["seeds"], lanes, strict=True) if several else ():
                    wanted[f"{key}.seed_{seed}"][data["step"]] = value
            if "episodes_spent" in data:
                wanted[f"{data['stage']}/episodes_spent"][data["step"]] = float(data["episodes_spent"])
        elif fact.kind == "stage_reused":
            key = f"{data['stage']}/saved_cpu_s" + (f".seed_{data['seed']}" if several else "")
            wanted[key][0] = float(data["saved_cpu_s"])
        elif fact.kind == "trial_ended" and data["status"] not in OPEN and isinstance(data["value"], float):
            wanted["value"][0] = data["value"]
    return wanted
