"""What a disturbed sweep has lost, doubled or got wrong, held against the same sweep undisturbed.

Four records must tell one story: the journal, the study, the tracker, and the journal of the undisturbed run. Values are
compared bit by bit. Nothing here uses the code that wrote them: what the tracker should hold is worked out anew.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...trainables.events import Evaluated, Event, Report
from ...trainables.lossless_json import dumps
from ..errors import UserError
from ..journal.events import TrialEnded, TrialProposed
from ..journal.journal import read
from ..paths import SweepPaths
from ..record.results import best, read_sweep
from ..search.bridge import NEVER_PLACED

OPEN = ("cancelled", "preempted")
"""Endings of trials that a resume takes up again."""
STUDY_STATES = {"finished": "COMPLETE", "pruned": "PRUNED"}

Point = tuple[str, str, int, int, str]
"""Kind, stage, step, seed, metric."""


@dataclass
class Account:
    """What a sweep's journal amounts to, however often the sweep was interrupted.

    Trials are known by what they try (phase and parameters): their numbers may differ between two runs.

    Attributes:
        names: trial to what it tries.
        own: each value of its last stage as often as it was reported, by trial.
        shared: the same of the stages before, which it may have computed for others too.
        endings: (status, value) of every ending that counts, by trial.
        best: what is tried by the best trial, and its value.
    """

    names: dict[str, str] = field(default_factory=dict)
    own: dict[str, dict[Point, list[str]]] = field(default_factory=dict)
    shared: dict[str, dict[Point, list[str]]] = field(default_factory=dict)
    endings: dict[str, list[tuple[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    best: tuple[str, Any] | None = None

    @property
    def points(self) -> int:
        """Values reported, repetitions counted."""
        series = [*self.own.values(), *self.shared.values()]
        return sum(len(values) for points in series for values in points.values())


def account(paths: SweepPaths) -> Account:
    """Read a journal.

    Raises:
        UserError: it is damaged.
    """
    found, through, phases = Account(), {}, {}
    for entry in read(paths.journal):
        name = str(entry.trial)
        match entry.event:
            case TrialProposed() as event:
                found.names[name] = f"{event.phase} {dumps(dict(sorted(event.params.items())))}"
                through[name], phases[name] = event.through, event.phase
                found.own[name], found.shared[name] = defaultdict(list), defaultdict(list)
            case Report() as event:
                # A baseline is scored by itself; what it trains for that is a stage that others need too.
                by_itself = isinstance(event, Evaluated) or phases[name] != "baseline"
                alone = event.stage == through[name] and by_itself
                points = found.own if alone else found.shared
                for point, value in _points(event):
                    points[name][point].append(value)
            case TrialEnded() as event if event.status not in OPEN:
                found.endings[name].append((event.status, event.value))
    row = best(read_sweep(paths)) if any(found.endings.values()) else None
    if row is not None:
        found.best = (found.names[row.trial], row.score.mean)
    return found


def lost(paths: SweepPaths, undisturbed: Account, *, whole: bool = True) -> list[str]:
    """What is wrong with a sweep's journal, in words; empty when nothing is lost or doubled.

    Args:
        paths: the disturbed sweep.
        undisturbed: of the same sweep, left alone.
        whole: whether it has come to its end; until then, things may be missing, but none may be doubled or differ.
    """
    try:
        found = account(paths)
    except (UserError, KeyError) as error:
        return [f"the journal cannot be read: {error}"]
    return [*_trials(found, undisturbed, whole), *_values(found, undisturbed, whole)]


def _trials(found: Account, undisturbed: Account, whole: bool) -> Iterator[str]:
    tried, wanted = Counter(found.names.values()), Counter(undisturbed.names.values())
    for what in tried - wanted:
        yield f"tried too often, or never asked for: {what}"
    for what in (wanted - tried) if whole else ():
        yield f"not tried: {what}"
    expected = {undisturbed.names[name]: endings for name, endings in undisturbed.endings.items()}
    for name, what in found.names.items():
        endings = found.endings.get(name, [])
        if len(endings) > 1:
            yield f"{name} ended {len(endings)} times"
        elif (endings or whole) and what in expected and endings != expected[what]:
            yield f"{name} ended as {endings}, undisturbed as {expected[what]}"
    if whole and found.best != undisturbed.best:
        yield f"the best is {found.best}, undisturbed {undisturbed.best}"


def _values(found: Account, undisturbed: Account, whole: bool) -> Iterator[str]:
    own = {undisturbed.names[name]: points for name, points in undisturbed.own.items()}
    for name, points in found.own.items():
        yield from _compared(name, points, own.get(found.names[name], {}), whole)
    shared, seen = _union(undisturbed), set()
    for name, points in found.shared.items():
        yield from _compared(name, points, shared, False)
        seen |= set(points)
    for point in sorted(set(shared) - seen) if whole else ():
        yield f"nobody reported {_words(point)}"


def _compared(
    name: str, points: Mapping[Point, list[str]], wanted: Mapping[Point, list[str]], whole: bool
) -> Iterator[str]:
    for point, values in points.items():
        if len(values) > 1:
            yield f"{name} reported {_words(point)} {len(values)} times"
        if point not in wanted:
            yield f"{name} reported {_words(point)}, undisturbed it did not"
        elif values[0] != wanted[point][0]:
            yield f"{name} reported {_words(point)} as {values[0]}, undisturbed {wanted[point][0]}"
    for point in sorted(set(wanted) - set(points)) if whole else ():
        yield f"{name} never reported {_words(point)}"


def _union(found: Account) -> dict[Point, list[str]]:
    return {point: values for points in found.shared.values() for point, values in points.items()}


def _points(report: Report) -> Iterator[tuple[Point, str]]:
    place = report.kind, report.stage, report.step
    for metric, lanes in report.metrics.items():
        for seed, value in zip(report.seeds, lanes, strict=True):
            yield (*place, seed, metric), repr(value)
    episodes = report.episodes if isinstance(report, Evaluated) else ()
    for seed, values in zip(report.seeds, episodes, strict=False):
        for metric, each in values.items():
            yield (*place, seed, f"{metric} of every episode"), repr(list(each))


def _words(point: Point) -> str:
    kind, stage, step, seed, metric = point
    return f"{stage}/{metric} ({kind}) at step {step} of seed {seed}"


def study_differs(paths: SweepPaths) -> list[str]:
    """Where the study says something else than the journal, once the sweep has ended."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=paths.name, storage=paths.study)
    entries = list(read(paths.journal))
    metric = read_sweep(paths).metric.bare
    searched = [e.trial for e in entries if isinstance(e.event, TrialProposed) and e.event.phase == "search"]
    wrong, kept = [], Counter(trial.user_attrs.get("trial") for trial in study.trials)
    wrong += [f"the study has {name} {kept[name]} times" for name in searched if kept[name] != 1]
    for trial in study.trials:
        name = trial.user_attrs.get("trial")
        if name in searched:
            wrong += _study_trial(trial, [e.event for e in entries if e.trial == name], metric)
        elif trial.user_attrs.get("reason") != NEVER_PLACED:
            wrong.append(f"the study has trial {trial.number} ({name}), the journal does not")
    return wrong


def _study_trial(trial: Any, events: Sequence[Event], metric: str) -> Iterator[str]:
    ended = next((event for event in reversed(events) if isinstance(event, TrialEnded)), None)
    state = "RUNNING" if ended is None or ended.status in OPEN else STUDY_STATES.get(ended.status, "FAIL")
    if trial.state.name != state:
        yield f"the study has trial {trial.number} as {trial.state.name}, by the journal it is {state}"
    if state == "COMPLETE" and ended and trial.value != ended.value:
        yield f"the study has {trial.value} for trial {trial.number}, the journal {ended.value}"
    scores = {event.step: mean(event.metrics[metric]) for event in events if isinstance(event, Evaluated)}
    if trial.intermediate_values != scores:
        yield f"the study has the scores {trial.intermediate_values} for trial {trial.number}, the journal {scores}"


def mean(lanes: Sequence[float]) -> float:
    return sum(lanes) / len(lanes)
