"""What is tried, in order: the search, then its best trials and the baselines on the test seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...trainables.request import TrialRequest
from ..going_on.courses import courses
from ..record.journal import Fact
from ..report.ranking import finished_score, ranked_trials
from ..search.bridge import StudySearch
from ..sweep.goals import Goals, is_feasible
from ..sweep.plan import Plan
from ..sweep.spec import SweepSpec
from ..sweep.workers import workers_of
from .desk import Desk

NOT_YET: Mapping[str, Any] = {}
"""In place of a request: the next proposal is still being made."""


def search_requests(
    plan: Plan, desk: Desk, search: StudySearch, recorded: Sequence[Fact]
) -> Iterator[Mapping[str, Any]]:
    """Search trials: first those an earlier driver left unfinished, then new proposals up to the wanted number.

    A proposal that repeats a finished trial is answered from the record and counts.
    """
    proposed = [fact for fact in recorded if fact.kind == "trial_proposed" and fact.data["phase"] == "search"]
    yield from _unfinished(plan, desk, recorded, "search", search)
    for left in reversed(range(plan.spec.search.trials - len(proposed))):
        search.prepare()
        while not search.ready():
            yield NOT_YET
        proposal = search.propose()
        if proposal is None:
            desk.end_search(search.exhausted or "")
            return
        facts = {"number": proposal.number} | ({"repeats": proposal.repeats} if proposal.repeats else {})
        request = _propose(plan, desk, proposal.trial, "search", dict(proposal.params), facts)
        if proposal.repeats:
            desk.answer(proposal.trial, proposal.repeats)
            continue
        if left:
            search.prepare()
        yield request


def confirmations(
    plan: Plan, desk: Desk, search: StudySearch, recorded: Sequence[Fact]
) -> Iterator[Mapping[str, Any]]:
    """The best search trials and the baselines, trained anew on seeds the search has not seen."""
    for phase in ("confirm", "baseline"):
        yield from _unfinished(plan, desk, recorded, phase)
    known = {fact.trial for fact in recorded if fact.kind == "trial_proposed"}
    best = ranked(plan, recorded)
    for rank, trial in enumerate(best[: plan.spec.confirm.top], start=1):
        name = f"confirm-{rank}-{trial}"
        if name not in known:
            yield _propose(
                plan, desk, name, "confirm", params_of(recorded, trial), {"confirms": trial, "rank": rank}
            )
    for stage in plan.spec.confirm.baselines:
        if f"baseline-{stage}" not in known and best:
            params = params_of(recorded, best[0])
            yield _propose(plan, desk, f"baseline-{stage}", "baseline", params, {"through": stage})


def ranked(plan: Plan, recorded: Sequence[Fact]) -> list[str]:
    """Search trials that ran to their end, best first; where any keep their limits, only those that do."""
    goals = Goals.of(plan.spec)
    searched = {
        fact.trial for fact in recorded if fact.kind == "trial_proposed" and fact.data["phase"] == "search"
    }
    scored = {}
    for fact in recorded:
        if fact.kind == "trial_ended" and fact.trial in searched:
            scored.pop(fact.trial, None)
            if (found := finished_score(goals, fact.data)) is not None:
                scored[str(fact.trial)] = found
    feasible = {name: found for name, found in scored.items() if is_feasible(found.excess)}
    return ranked_trials(goals, feasible or scored)


def params_of(recorded: Sequence[Fact], trial: str) -> dict[str, Any]:
    """The searched parameters of a trial on record."""
    return next(dict(f.data["params"]) for f in recorded if f.kind == "trial_proposed" and f.trial == trial)


def _propose(
    plan: Plan, desk: Desk, name: str, phase: str, params: dict[str, Any], facts: Mapping[str, Any]
) -> dict[str, Any]:
    spec, confirming = plan.spec, phase != "search"
    configs = plan.resolved.trial_configs(params)
    request = TrialRequest(
        trial=name,
        system=spec.system,
        source=spec.source,
        configs=configs,
        seeds=spec.seeds.test if confirming else spec.seeds.tune,
        split="test" if confirming else "tune",
        through=facts.get("through", plan.resolved.stage),
        episodes=spec.confirm.episodes if confirming else spec.evaluation.episodes,
        evaluate_every_steps=None if confirming else spec.evaluation.every_steps,
        threads=spec.resources.threads,
        device="cuda" if spec.resources.gpus else "cpu",
        acceleration=spec.resources.acceleration,
        workers=workers_of(spec.resources),
        checkpoints=spec.checkpoints,
        metrics=tuple(metric.split("/", 1)[1] for metric in Goals.of(spec).metrics),
        best_by=_best_by(spec),
        illustrate=confirming,
    ).model_dump(mode="json")
    desk.propose(
        name,
        phase,
        {
            "params": params,
            "configs": configs,
            "seeds": request["seeds"],
            "through": request["through"],
            "request": request,
            **facts,
        },
    )
    return request


def _best_by(spec: SweepSpec) -> tuple[str, bool]:
    return spec.objective.metric.split("/", 1)[1], spec.objective.direction == "maximize"


def _unfinished(
    plan: Plan, desk: Desk, recorded: Sequence[Fact], phase: str, search: StudySearch | None = None
) -> Iterator[Mapping[str, Any]]:
    """Trials that are to go on: not ended, ended only because the sweep was asked to stop, or reopened since."""
    outside = {name for f in recorded if f.kind == "study_renewed" for name in f.data["outside"]}
    for name, course in courses(recorded).items():
        if course.phase != phase or not course.is_open or name in outside:
            continue
        if search is not None:
            search.reopen(name)
        desk.reopen(name, phase, course.facts)
        # How many compute a stage is no part of the trial, and room is kept for as many as are asked for now.
        yield {
            **course.request,
            "workers": workers_of(plan.spec.resources).model_dump(mode="json"),
            "checkpoints": plan.spec.checkpoints.model_dump(mode="json"),
        }
