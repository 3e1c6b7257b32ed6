"""Where MLflow says something else than the journal. What it should hold is worked out here anew, not by what sends it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ...trainables.events import Evaluated, Report, StageComputed, StageReused
from ..journal.events import Entry, SweepEnded, TrialEnded, TrialProposed
from ..journal.journal import read
from ..paths import SweepPaths
from ..tracking.place import Place
from ..tracking.runs import sweep_id
from .checks import OPEN, mean

RUN_STATES = {"finished": "FINISHED", "pruned": "KILLED"}


def tracker_differs(paths: SweepPaths, uri: str) -> list[str]:
    """Where MLflow says something else than the journal, once everything has been sent."""
    from mlflow import MlflowClient

    entries, client = list(read(paths.journal)), MlflowClient(uri)
    place = Place.load(paths.tracking)
    experiment = client.get_experiment_by_name(place.target[1])
    if experiment is None:
        return [f"MLflow has no experiment {place.target[1]}"]
    query = f"tags.`flowsweep.sweep_id` = '{sweep_id(entries[0])}'"
    runs = list(client.search_runs([experiment.experiment_id], query, max_results=1000))
    names = Counter(run.data.tags["flowsweep.run"] for run in runs)
    wanted = _runs_wanted(entries)
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
            mine = [e for e in entries if e.trial == name.removeprefix("trial:")]
            wrong += _curves(client, run, name, mine)
    return wrong


def _runs_wanted(entries: Sequence[Entry]) -> dict[str, str]:
    """Run to the word its status tag should have."""
    wanted = {}
    for entry in entries:
        match entry.event:
            case TrialProposed():
                wanted[f"trial:{entry.trial}"] = "running"
            case TrialEnded(status=status):
                wanted[f"trial:{entry.trial}"] = status
            case StageComputed(key=key):
                wanted[f"stage:{key}"] = "finished"
            case SweepEnded(status=status):
                wanted["sweep"] = status
    return wanted


def _run_state(run: Any, name: str, word: str | None) -> Iterator[str]:
    said = run.data.tags.get("flowsweep.status")
    if word is None:
        return
    state = "KILLED" if word in (*OPEN, "interrupted") else RUN_STATES.get(word, "FAILED")
    if said != word or run.info.status != state:
        yield f"MLflow has {name} as {said} ({run.info.status}), by the journal it is {word} ({state})"


def _curves(client: Any, run: Any, name: str, entries: Sequence[Entry]) -> Iterator[str]:
    wanted = _curves_wanted(entries)
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


def _curves_wanted(entries: Sequence[Entry]) -> dict[str, dict[int, float]]:
    """Metric to step to value, as MLflow should have it for one trial."""
    wanted: dict[str, dict[int, float]] = defaultdict(dict)
    several = False
    for entry in entries:
        match entry.event:
            case TrialProposed(seeds=seeds):
                several = len(seeds) > 1
            case Report() as report:
                for metric, lanes in report.metrics.items():
                    key = f"{report.stage}/{metric}"
                    if not several or len(lanes) > 1:
                        wanted[key][report.step] = mean(lanes)
                    for seed, value in zip(report.seeds, lanes, strict=True) if several else ():
                        wanted[f"{key}.seed_{seed}"][report.step] = value
                if isinstance(report, Evaluated):
                    wanted[f"{report.stage}/episodes_spent"][report.step] = float(report.episodes_spent)
            case StageReused() as reused:
                key = f"{reused.stage}/saved_cpu_s" + (f".seed_{reused.seed}" if several else "")
                wanted[key][0] = reused.saved_cpu_s
            case TrialEnded(status=status, value=float(value)) if status not in OPEN:
                wanted["value"][0] = value
    return wanted
