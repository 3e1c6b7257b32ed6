"""What is tried, in order: the search, then its best trials and the baselines on the test seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from ...trainables.names import MetricName
from ...trainables.request import TrialRequest
from ..journal.events import Phase, TrialProposed
from ..journal.state import SweepState
from ..report.ranking import finished_score, ranked_trials
from ..search.bridge import StudySearch
from ..sweep.goals import Goals, is_feasible
from ..sweep.plan import Plan
from ..sweep.spec import SweepSpec
from ..sweep.workers import workers_of
from .desk import Desk

NOT_YET = object()
"""In place of a request: the next proposal is still being made."""


def search_requests(plan: Plan, desk: Desk, search: StudySearch) -> Iterator[TrialRequest | object]:
    """Search trials: first those an earlier driver left unfinished, then new proposals up to the wanted number.

    A proposal that repeats a finished trial is answered from the record and counts.
    """
    proposed = len(desk.state.phase("search"))
    yield from _unfinished(plan, desk, "search", search)
    for left in reversed(range(plan.spec.search.trials - proposed)):
        search.prepare()
        while not search.ready():
            yield NOT_YET
        proposal = search.propose()
        if proposal is None:
            desk.end_search(search.exhausted or "")
            return
        told = {"number": proposal.number, "repeats": proposal.repeats}
        request = _propose(plan, desk, proposal.trial, "search", dict(proposal.params), told)
        if proposal.repeats:
            desk.answer(proposal.trial, proposal.repeats)
            continue
        if left:
            search.prepare()
        yield request


def confirmations(plan: Plan, desk: Desk, search: StudySearch) -> Iterator[TrialRequest | object]:
    """The best search trials and the baselines, trained anew on seeds the search has not seen."""
    for phase in ("confirm", "baseline"):
        yield from _unfinished(plan, desk, phase)
    trials = desk.state.trials
    best = ranked(plan, desk.state)
    for rank, trial in enumerate(best[: plan.spec.confirm.top], start=1):
        name = f"confirm-{rank}-{trial}"
        if name not in trials:
            yield _propose(
                plan, desk, name, "confirm", dict(trials[trial].params), {"confirms": trial, "rank": rank}
            )
    for stage in plan.spec.confirm.baselines:
        if f"baseline-{stage}" not in trials and best:
            params = dict(trials[best[0]].params)
            yield _propose(plan, desk, f"baseline-{stage}", "baseline", params, through=stage)


def ranked(plan: Plan, state: SweepState) -> list[str]:
    """Return the search trials that ran to their end, best first; where any keep their limits, only those that do."""
    goals = Goals.of(plan.spec)
    scored = {
        trial.trial: found
        for trial in state.phase("search")
        if (found := finished_score(goals, trial)) is not None
    }
    feasible = {name: found for name, found in scored.items() if is_feasible(found.excess)}
    return ranked_trials(goals, feasible or scored)


def _propose(
    plan: Plan,
    desk: Desk,
    name: str,
    phase: Phase,
    params: dict[str, Any],
    told: Mapping[str, Any] | None = None,
    through: str = "",
) -> TrialRequest:
    spec, confirming = plan.spec, phase != "search"
    configs = plan.resolved.trial_configs(params)
    request = TrialRequest(
        trial=name,
        system=spec.system,
        source=spec.source,
        configs=configs,
        seeds=spec.seeds.test if confirming else spec.seeds.tune,
        split="test" if confirming else "tune",
        through=through or plan.resolved.stage,
        episodes=spec.confirm.episodes if confirming else spec.evaluation.episodes,
        evaluate_every_steps=None if confirming else spec.evaluation.every_steps,
        threads=spec.resources.threads,
        device="cuda" if spec.resources.gpus else "cpu",
        acceleration=spec.resources.acceleration,
        workers=workers_of(spec.resources),
        checkpoints=spec.checkpoints,
        metrics=tuple(metric.split("/", 1)[1] for metric in Goals.of(spec).metrics),
        best_by=_best_by(spec),
        best_within=_best_within(spec),
        illustrate=confirming,
    )
    event = TrialProposed(
        phase=phase,
        params=params,
        configs=configs,
        seeds=request.seeds,
        through=request.through,
        request=request,
        **(told or {}),
    )
    desk.propose(name, event)
    return request


def _best_by(spec: SweepSpec) -> tuple[str, bool]:
    return MetricName(spec.objective.metric).bare, spec.objective.direction == "maximize"


def _best_within(spec: SweepSpec) -> tuple[tuple[str, Literal["max", "min"], float], ...]:
    return tuple(
        (MetricName(limit.metric).bare, "max" if limit.max is not None else "min", limit.bound)
        for limit in spec.constraints
    )


def _unfinished(
    plan: Plan, desk: Desk, phase: Phase, search: StudySearch | None = None
) -> Iterator[TrialRequest]:
    """Trials that are to go on: not ended, ended only because the sweep was asked to stop, or reopened since."""
    outside = desk.state.study.outside if desk.state.study else ()
    for trial in desk.state.phase(phase):
        if trial.status.is_final or trial.trial in outside or trial.request is None:
            continue
        if search is not None:
            search.reopen(trial.trial)
        desk.reopen(trial.trial)
        # How many compute a stage is no part of the trial, and room is kept for as many as are asked for now.
        now = {"workers": workers_of(plan.spec.resources), "checkpoints": plan.spec.checkpoints}
        yield trial.request.model_copy(update=now)
