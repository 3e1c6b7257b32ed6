"""Train a recorded trial again, here, and say whether it was reproduced."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..trainables.base import load_system
from ..trainables.code_digest import code_differences, system_code
from ..trainables.config import parse
from ..trainables.events import Evaluated, Event, Report
from ..trainables.names import MetricName
from ..trainables.request import TrialRequest, Workers
from ..trainables.user_code.code import names_code
from ..trainables.walk import Walk
from .errors import Refused, UserError, nearest
from .going_on.provenance import changed_since
from .journal.state import SweepState
from .paths import Home, SweepPaths
from .record.results import best, read_sweep
from .report.intervals import episode_values
from .store.base import Stages
from .store.opening import open_store
from .store.stages import StageStore
from .sweep.plan import concurrent_trials
from .sweep.spec import Resources
from .sweep.workers import nodes

RULE = (
    "reproduced: every recorded training and evaluation value came out equal to the last bit. "
    "within noise: the objective differs by no more than the 95 % interval of the difference of the two "
    "evaluations. not reproduced: anything else."
)


@dataclass(frozen=True)
class Verdict:
    """What a rerun found.

    Attributes:
        compared: recorded values that were compared.
        equal: how many of them came out equal to the last bit.
        first_difference: where the runs part, in words.
        margin: half-width of the 95 % interval of the difference; None without episodes.
        changes: what is not as it was recorded (versions, device, code).
        step: of the evaluation that counts, the last one.
    """

    verdict: Literal["reproduced", "within noise", "not reproduced"]
    trial: str
    metric: str
    recorded: float | None
    rerun: float | None
    compared: int
    equal: int
    first_difference: str | None
    margin: float | None
    changes: tuple[str, ...]
    step: int | None = None


def rerun(
    paths: SweepPaths,
    home: Home,
    trial: str = "best",
    *,
    reuse_stages: bool = False,
    spread: bool = False,
    device: str | None = None,
    anyway: bool = False,
    watch: Callable[[Event], None] = lambda event: None,
) -> Verdict:
    """Walk a trial's request again in this process and compare it with the record.

    Args:
        trial: a trial's name, or ``best``.
        reuse_stages: take earlier stages from the store instead of computing them anew too.
        spread: compute stages by as many workers as the sweep asked for, on an embedded Ray; by one otherwise.
        device: another device than the recorded one.
        anyway: although a file of the user's own that the sweep runs has changed.
        watch: shown every event.

    Raises:
        UserError: there is no such trial, or it never finished.
        Refused: the user's own code has changed.
    """
    sweep = read_sweep(paths)
    name = best_trial(sweep) if trial == "best" else trial
    known = sweep.trials.get(name)
    if known is None or known.request is None:
        fix = nearest(name, sweep.trials)
        raise UserError("no such trial in this sweep", key="--trial", value=name, fix=fix)
    if not known.evaluations:
        raise UserError(
            "this trial was never scored, so there is nothing to compare", key="--trial", value=name
        )
    changed = {"illustrate": False} | ({"device": device} if device else {})
    request, changes = _alone_or_spread(known.request.model_copy(update=changed), spread)
    changes += _code_changes(sweep, request.system, anyway)
    crowd = _room(sweep) if request.workers.counts else contextlib.nullcontext()
    with crowd, tempfile.TemporaryDirectory(prefix="rerun-", dir=paths.root) as folder:
        store = _recorded_store(sweep, home) if reuse_stages else StageStore(Path(folder) / "stages")
        events = []
        for event in Walk(request, store, Path(folder) / "trial"):
            watch(event)
            events.append(event)
    # A baseline is scored on its own last stage.
    metric = MetricName(f"{request.through}/{sweep.metric.bare}")
    assert sweep.started is not None
    changes += changed_since(sweep.started, request.device)
    recorded = [entry.event for entry in known.reports]
    return compare(name, metric, recorded, events, changes)


def _code_changes(sweep: SweepState, system: str, anyway: bool) -> tuple[str, ...]:
    """What has changed of a file of the user's own since it was last run; of a registered system the version tells."""
    if not names_code(system):
        return ()
    then = sweep.started.code if sweep.started else {}
    found = tuple(code_differences(then, system_code(load_system(system))))
    if found and not anyway:
        raise Refused(
            f"has changed since the sweep was last run: {'; '.join(found)}", key="system", value=system,
            fix="Bring the old code back (a copy is in the sweep's folder), or rerun with `--anyway`.",
        )  # fmt: skip
    return found


def _alone_or_spread(request: TrialRequest, spread: bool) -> tuple[TrialRequest, tuple[str, ...]]:
    """The request as it is to be walked here, and what that changes."""
    if spread or not (request.workers.counts or request.workers.stages):
        return request, ()
    if not request.workers.counts:  # one worker did what the trial itself now does
        return request.model_copy(update={"workers": Workers()}), ()
    then = ", ".join(f"{stage} {count}" for stage, count in request.workers.counts.items())
    change = (
        f"workers: {then} then, 1 now (sums of gradients are rounded otherwise; `--spread` takes as many)"
    )
    return request.model_copy(update={"workers": Workers()}), (change,)


@contextlib.contextmanager
def _room(sweep: SweepState) -> Iterator[None]:
    """An embedded Ray that has room for the sweep's workers.

    Raises:
        UserError: this machine has too little.
    """
    from .driver import connection

    with connection(None):
        concurrent_trials(parse(Resources, sweep.spec["resources"]), nodes())
        yield


def _recorded_store(sweep: SweepState, home: Home) -> Stages:
    return open_store(home, sweep.spec.get("storage", {}).get("stages"))


def best_trial(sweep: SweepState) -> str:
    """The trial that came out best, the same that `best` shows and `export` writes: a confirmation where there is one.

    Raises:
        UserError: none ran to its end.
    """
    row = best(sweep)
    if row is None:
        raise UserError(
            "no trial of this sweep has finished", fix="See `flowsweep show` for what became of them."
        )
    return row.trial


def compare(
    trial: str,
    metric: str,
    recorded: Sequence[Event],
    events: Sequence[Event],
    changes: tuple[str, ...],
) -> Verdict:
    """Set recorded events against those of a rerun; ``metric`` is ``stage/metric``."""
    stage, name = MetricName(metric).stage, MetricName(metric).bare
    new = {_series(event): event for event in events if isinstance(event, Report)}
    compared = equal = 0
    first_difference = None
    before = after = None
    for report in recorded:
        if not isinstance(report, Report) or (event := new.get(_series(report))) is None:
            continue
        for what, old, fresh in _values(report, event):
            compared += 1
            equal += _same(old, fresh)
            if first_difference is None and not _same(old, fresh):
                first_difference = f"{report.stage} step {report.step:,}, {what}: {old!r} then, {fresh!r} now"
        if isinstance(report, Evaluated) and report.stage == stage and name in report.metrics:
            before, after = report, event
    if before is None or not isinstance(after, Evaluated):
        return Verdict(
            "not reproduced", trial, metric, None, None, compared, equal, "nothing comparable", None, changes
        )
    old_value, new_value = before.mean(name), after.mean(name)
    margin = difference_margin(before, after, name)
    if compared and equal == compared:
        verdict = "reproduced"
    elif margin is not None and abs(new_value - old_value) <= margin:
        verdict = "within noise"
    else:
        verdict = "not reproduced"
    return Verdict(
        verdict, trial, metric, old_value, new_value, compared, equal, first_difference, margin, changes,
        before.step,
    )  # fmt: skip


def difference_margin(before: Evaluated, after: Evaluated, metric: str) -> float | None:
    """Half-width of the 95 % interval of the difference of two evaluations (Welch), from their episodes."""
    old, new = (episode_values(metric, side.episodes) for side in (before, after))
    if len(old) < 2 or len(new) < 2:
        return None
    from scipy import stats

    variance = stats.tvar(old) / len(old) + stats.tvar(new) / len(new)
    if variance == 0:
        return 0.0
    freedom = variance**2 / (
        (stats.tvar(old) / len(old)) ** 2 / (len(old) - 1)
        + (stats.tvar(new) / len(new)) ** 2 / (len(new) - 1)
    )
    return float(stats.t.ppf(0.975, freedom) * math.sqrt(variance))


def _values(old: Report, new: Report) -> Iterator[tuple[str, Any, Any]]:
    for name, values in old.metrics.items():
        for lane, value in enumerate(values):
            fresh = new.metrics.get(name, [])
            yield f"{name} of seed {old.seeds[lane]}", value, fresh[lane] if lane < len(fresh) else None


def _series(report: Report) -> tuple:
    return report.kind, report.stage, report.step, report.seeds


def _same(old: Any, new: Any) -> bool:
    return old == new or (
        isinstance(old, float) and isinstance(new, float) and math.isnan(old) and math.isnan(new)
    )
