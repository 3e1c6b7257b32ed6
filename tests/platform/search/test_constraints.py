"""A trial that breaks a limit is never first: not to the stop rules, nor in any place that says which trial is best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from flowsweep.platform.errors import UserErrors
from flowsweep.platform.export import _chosen
from flowsweep.platform.going_on.provenance import provenance
from flowsweep.platform.journal.events import SweepStarted
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.journal.state import SweepState
from flowsweep.platform.paths import Home
from flowsweep.platform.record.results import best, leaderboard, list_sweeps, read_sweep, why_best
from flowsweep.platform.report.sections import report_page
from flowsweep.platform.rerun import best_trial
from flowsweep.platform.running.desk import Desk
from flowsweep.platform.running.phases import confirmations, ranked, search_requests
from flowsweep.platform.search.start import open_search
from flowsweep.platform.sweep.goals import Goals
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.spec import SweepSpec
from flowsweep.trainables.config import parse
from flowsweep.trainables.events import Evaluated

SWEEP = {
    "name": "safe", "system": "roamer", "environment": "meadow-v0", "objective": {"metric": "roam/return"},
    "constraints": ["roam/cost <= 25"], "stages": {"roam": {"steps": 100}}, "seeds": {"tune": [0], "test": [10]},
    "search": {"sampler": "random"}, "evaluation": {"every_steps": 10}, "confirm": {"top": 2},
}  # fmt: skip


def evaluated(step: int, returned: float, cost: float, stage: str = "roam", seed: int = 0) -> Evaluated:
    metrics = {"return": [returned], "cost": [cost], "test_share": [0.0]}
    return Evaluated(
        stage=stage, step=step, steps=100, seeds=(seed,), metrics=metrics, episodes=({},), episodes_spent=1, cpu_s=0.1
    )  # fmt: skip


class Swept:
    """A sweep without workers: its trials report what the test says."""

    def __init__(self, home: Home, **changes):
        self.plan = make_plan(parse(SweepSpec, {**SWEEP, **changes}), home)
        self.home, self.paths = home, home.sweep("safe")
        self.journal = Journal(self.paths.journal)
        state = SweepState.of([self.journal.append(SweepStarted(**provenance(self.plan)))], self.paths)
        self.search = open_search(self.plan, home, self.paths, state, self.journal.append)
        self.desk = Desk(self.journal, self.plan.spec, self.search, state=state)

    def run(self, *outcomes: tuple[float, float]):
        """Search trials that end with these returns and costs."""
        requests = search_requests(self.plan, self.desk, self.search)
        for request, outcome in zip(requests, outcomes, strict=True):
            self.desk.receive(request.trial, [evaluated(100, *outcome)], True, None)

    def confirm(self, *outcomes: tuple[float, float]):
        """Confirmations and baselines in their order."""
        requests = confirmations(self.plan, self.desk, self.search)
        for request, outcome in zip(requests, outcomes, strict=True):
            said = evaluated(100, *outcome, stage=request.through, seed=10)
            self.desk.receive(request.trial, [said], True, None)

    @property
    def record(self):
        return read_sweep(self.paths)


@pytest.fixture
def swept(toy_system, tmp_path: Path):
    made: list[Swept] = []

    def make(**changes) -> Swept:
        made.append(Swept(Home(tmp_path), **changes))
        return made[-1]

    yield make
    for one in made:
        one.search.close()
        one.journal.close()


def everywhere(sweep: Swept) -> set[str]:
    """The best trial, by everybody who names it."""
    record, (summary,) = sweep.record, list_sweeps(sweep.home)
    row = best(record)
    assert row is not None
    page = report_page(record)
    assert page.lead.startswith(f"{row.confirms or row.trial} is the best trial")
    return {row.trial, best_trial(sweep.record), _chosen(record, "best").trial, str(summary.best_trial)}


OUTCOMES = [(50.0, 31.2), (30.0, 24.0), (40.0, 25.0), (90.0, 26.0), (10.0, 0.0)]


def test_a_trial_that_breaks_a_limit_is_never_first(swept):
    sweep = swept(search={"trials": 5, "sampler": "random"})
    sweep.run(*OUTCOMES)
    assert everywhere(sweep) == {"t0002"}
    rows = leaderboard(sweep.record)
    assert [row.trial for row in rows] == ["t0002", "t0001", "t0004", "t0003", "t0000"]
    assert why_best(sweep.record, rows[0]) == (
        "best of 3 feasible trials; t0003 scored higher but roam/cost 26 > 25; "
        "t0000 scored higher but roam/cost 31.2 > 25"
    )
    assert ranked(sweep.plan, sweep.record) == ["t0002", "t0001", "t0004"]


def test_a_confirmation_that_breaks_a_limit_is_not_first_either(swept):
    sweep = swept(search={"trials": 5, "sampler": "random"})
    sweep.run(*OUTCOMES)
    sweep.confirm((45.0, 25.5), (29.0, 20.0))
    assert everywhere(sweep) == {"confirm-2-t0001"}
    assert why_best(sweep.record, best(sweep.record)) == (
        "best of 1 feasible trial on the test seeds; confirm-1-t0002 scored higher but roam/cost 25.5 > 25"
    )


def test_a_single_confirmation_is_the_best_of_those_it_was_chosen_among(swept):
    sweep = swept(search={"trials": 5, "sampler": "random"}, confirm={"top": 1})
    sweep.run(*OUTCOMES)
    sweep.confirm((39.0, 24.0))
    assert everywhere(sweep) == {"confirm-1-t0002"}
    assert why_best(sweep.record, best(sweep.record)) == (
        "best of 3 feasible trials; t0003 scored higher but roam/cost 26 > 25; "
        "t0000 scored higher but roam/cost 31.2 > 25; confirmed on the test seeds"
    )


def test_a_trial_whose_confirmation_broke_a_limit_gives_way_to_one_that_kept_them(swept):
    sweep = swept(search={"trials": 5, "sampler": "random"}, confirm={"top": 1})
    sweep.run(*OUTCOMES)
    sweep.confirm((45.0, 25.5))
    assert everywhere(sweep) == {"t0001"}
    assert "on the test seeds no confirmed trial kept every limit (confirm-1-t0002: roam/cost 25.5 > 25)" in (
        why_best(sweep.record, best(sweep.record))
    )


def test_where_nobody_keeps_the_limit_the_closest_leads_and_it_is_said(swept):
    sweep = swept(search={"trials": 2, "sampler": "random"})
    sweep.run((90.0, 40.0), (10.0, 26.0))
    assert everywhere(sweep) == {"t0001"}
    said = why_best(sweep.record, best(sweep.record))
    assert said == "closest to its limits: none of 2 trials keeps them, here roam/cost 26 > 25"


def test_a_baseline_above_is_said_in_headline_and_table(swept):
    sweep = swept(
        constraints=[], search={"trials": 2, "sampler": "random"}, confirm={"top": 1, "baselines": ["base"]}
    )
    sweep.run((10.0, 0.0), (20.0, 0.0))
    sweep.confirm((21.0, 0.0), (30.0, 0.0))
    assert everywhere(sweep) == {"confirm-1-t0001"}
    page = report_page(sweep.record)
    assert "No trial is above the baseline base, which has 30." in page.lead
    table = next(section for section in page.sections if section.title == "Confirmation")
    assert [row.cells[0] for row in table.tables[0].rows] == ["baseline base", "t0001"]
    assert [row.first for row in table.tables[0].rows] == [False, True]
    assert "the baseline base is above it with 30" in why_best(sweep.record, best(sweep.record))


def test_a_baseline_that_does_not_report_the_limited_metric_is_refused(swept):
    with pytest.raises(UserErrors, match=r"confirm.baselines: this stage does not report `cost`"):
        swept(confirm={"top": 1, "baselines": ["base"]})


GOALS = Goals.recorded({**SWEEP, "constraints": [{"metric": "roam/cost", "max": 25.0}]})


def judged(returned: float, cost: float) -> float | None:
    return GOALS.judged({"roam/return": returned, "roam/cost": cost})


def test_the_stop_rules_see_feasible_trials_before_all_others():
    order = [judged(50, 0), judged(-1e9, 25), judged(50, 25.1), judged(90, 40), judged(10, 41)]
    assert order == sorted(order, key=lambda value: -float(value or 0))
    assert len(set(order)) == 5
    assert judged(50, 1e300) == judged(0, 1e301)
    assert GOALS.judged({"roam/return": 5.0}) is None


def test_a_value_that_is_not_finite_is_never_hidden_by_a_limit():
    assert str(judged(float("nan"), 40)) == "nan"


def test_a_minimized_objective_is_judged_the_other_way_round():
    goals = Goals.recorded(
        {
            "objective": {"metric": "roam/loss", "direction": "minimize"},
            "constraints": [{"metric": "roam/return", "min": 0.0}],
        }
    )
    ordered = [{"roam/loss": 9.0, "roam/return": 0.0}, {"roam/loss": 1.0, "roam/return": -1.0}]
    first, second = (goals.judged(known) for known in ordered)
    assert first < second
    assert goals.broken(ordered[1]) == ["roam/return -1 < 0"]


def course(sweep: Swept, trial: str, reports: Sequence[tuple[int, float, float]]) -> list:
    """The decisions on a trial that is scored at these steps."""
    decisions = []
    for step, returned, cost in reports:
        decisions.append(sweep.desk.receive(trial, [evaluated(step, returned, cost)], False, None))
        if decisions[-1].action == "stop":
            break
    return decisions


ASHA = {"rule": "asha", "min_steps": 10, "reduction": 2}


def test_judging_begins_after_the_grace_period(swept):
    sweep = swept(search={"trials": 4, "sampler": "random"}, stop=ASHA)
    assert sweep.plan.spec.stop.grace_steps == 20
    assert sweep.plan.rungs == (20, 40, 80)
    requests = search_requests(sweep.plan, sweep.desk, sweep.search)
    names = [next(requests).trial for _ in range(3)]
    for name in names[:2]:
        course(sweep, name, [(10, 9.0, 0.0), (20, 9.0, 0.0)])
    # Worst at everything within the grace period, then feasible and good: a safe late starter.
    late = course(sweep, names[2], [(10, -5.0, 500.0), (20, 10.0, 20.0)])
    assert [decision.action for decision in late] == ["continue", "continue"]


def test_more_return_does_not_buy_off_a_broken_limit(swept):
    sweep = swept(search={"trials": 4, "sampler": "random"}, stop=ASHA)
    requests = search_requests(sweep.plan, sweep.desk, sweep.search)
    safe, unsafe = (next(requests).trial for _ in range(2))
    course(sweep, safe, [(20, 1.0, 10.0)])
    (decision,) = course(sweep, unsafe, [(20, 99.0, 31.2)])
    assert (decision.action, decision.status) == ("stop", "pruned")
    assert decision.reason.startswith(
        "roam/cost 31.2 > 25 at step 20: 1 of 2 trials that got this far did better"
    )


def test_nobody_is_stopped_for_want_of_patience_within_the_grace_period(swept):
    sweep = swept(search={"trials": 2, "sampler": "random"}, stop={"patience": 2, "min_steps": 10})
    name = next(search_requests(sweep.plan, sweep.desk, sweep.search)).trial
    closer = [(10, 9.0, 90.0), (20, 8.0, 80.0), (30, 7.0, 70.0), (40, 6.0, 60.0)]
    assert {decision.action for decision in course(sweep, name, closer)} == {"continue"}
    further = course(sweep, name, [(50, 99.0, 61.0), (60, 99.0, 62.0)])
    assert [decision.rule for decision in further] == ["", "patience"]


def test_a_study_that_was_lost_is_told_the_same_again(swept, tmp_path: Path):
    sweep = swept(search={"trials": 2, "sampler": "random"}, stop=ASHA)
    name = next(search_requests(sweep.plan, sweep.desk, sweep.search)).trial
    course(sweep, name, [(10, 9.0, 90.0), (20, 8.0, 80.0), (40, 7.0, 7.0)])
    sweep.desk.receive(name, [evaluated(100, 7.0, 7.0)], True, None)
    told = sweep.search.study.trials[0].intermediate_values
    assert list(told) == [20, 40, 100]
    again = open_search(
        sweep.plan, sweep.home, Home(tmp_path / "new").sweep("safe"), sweep.record, lambda event: None
    )
    assert again.study.trials[0].intermediate_values == told
    again.close()


def test_a_grace_period_without_constraints_is_refused(swept):
    with pytest.raises(UserErrors, match=r"stop.grace_steps: is the time that constraints are given"):
        swept(constraints=[], stop={**ASHA, "grace_steps": 30})


def test_a_limit_on_what_no_stage_reports_is_refused_with_what_there_is(swept):
    with pytest.raises(UserErrors) as refused:
        swept(constraints=["roam/temperature <= 25"])
    assert "constraints.0.metric: no stage reports this metric" in str(refused.value)
    for metric in ("roam/cost", "roam/return"):
        assert metric in str(refused.value)
