"""Several objectives, limits, repeats and earlier sweeps, from the sweep file to the leaderboard, without workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flowsweep.platform.errors import Refused, UserError, UserErrors
from flowsweep.platform.going_on.provenance import provenance
from flowsweep.platform.journal.events import SweepStarted
from flowsweep.platform.journal.journal import Journal, read
from flowsweep.platform.journal.state import SweepState
from flowsweep.platform.paths import Home
from flowsweep.platform.record.results import best, front_rows, leaderboard, read_sweep, tables
from flowsweep.platform.report.sections import report_page
from flowsweep.platform.running.desk import Desk
from flowsweep.platform.running.phases import confirmations, ranked, search_requests
from flowsweep.platform.search.start import open_search
from flowsweep.platform.sweep.goals import is_feasible
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.trainables.events import Evaluated, Progress, Report

RATE = {"tune.rate": {"low": 0.01, "high": 1.0, "log": True}, "tune.offset": {"low": -4.0, "high": 4.0}}
BOTH = [{"metric": "tune/return"}, {"metric": "tune/loss", "direction": "minimize"}]
FEW = {"tune.rate": {"values": [0.1, 0.5]}, "tune.offset": {"values": [0.0, 1.0]}}


def reported(returned: float, loss: float) -> list[Report]:
    """What a worker says at the end of a trial, two seeds."""
    at = {"stage": "tune", "step": 40, "steps": 40, "seeds": (0, 1), "cpu_s": 0.1}
    return [
        Progress(**at, metrics={"loss": [loss, loss]}),
        Evaluated(**at, metrics={"return": [returned, returned]}, episodes=({}, {}), episodes_spent=2),
    ]


@pytest.fixture
def sweep(toy_sweep, tmp_path: Path):
    """Run a sweep's search with given outcomes; ``sweep(value, name=..., **changes)`` returns its plan and record."""
    home = Home(tmp_path / "home")

    def run(value: Callable[[dict], tuple[float, float]], **changes):
        changes = {"stop": {"rule": "none"}, "confirm": {"top": 2}} | changes
        plan = make_plan(toy_sweep(**changes), home)
        paths = home.sweep(plan.spec.name)
        with Journal(paths.journal) as journal:
            state = SweepState.of([journal.append(SweepStarted(**provenance(plan)))], paths)
            search = open_search(plan, home, paths, state, journal.append)
            desk = Desk(journal, plan.spec, search, state=state)
            for request in search_requests(plan, desk, search):
                params = {"rate": request.configs["tune"]["rate"], **request.configs["tune"]}
                desk.receive(request.trial, reported(*value(params)), True, None)
            assert search.close() == 0
        return plan, read_sweep(paths), search

    return run


def trade(params: dict) -> tuple[float, float]:
    """More return costs more loss; the rest of the configuration only makes it worse."""
    return params["offset"] - params["rate"], params["offset"] ** 2 + params["rate"]


def test_several_objectives_give_a_front_whose_first_is_best_in_the_leading_one(sweep):
    plan, record, search = sweep(
        trade, objective=BOTH, space=RATE, search={"trials": 12, "sampler": "random"}
    )
    rows = leaderboard(record)
    front = [row.trial for row in front_rows(record)]
    values = {row.trial: (row.metrics["tune/return"], -row.metrics["tune/loss"]) for row in rows}
    beaten = {
        name for name, mine in values.items()
        if any(other != mine and other[0] >= mine[0] and other[1] >= mine[1] for other in values.values())
    }  # fmt: skip
    assert set(front) == set(values) - beaten
    assert best(record).trial == max(front, key=lambda name: values[name][0])
    assert [trial.values for trial in search.study.trials] == [
        [record.trials[f"t{i:04d}"].values[m] for m in ("tune/return", "tune/loss")] for i in range(12)
    ]
    assert ranked(plan, record)[: len(front)] == front
    columns = tables(record)["trials"]
    assert columns.column("tune/loss").to_pylist() == [t.values["tune/loss"] for t in record.trials.values()]


def test_the_report_shows_the_front_and_says_what_leads_it(sweep):
    _, record, _ = sweep(trade, objective=BOTH, space=RATE, search={"trials": 8, "sampler": "random"})
    page = report_page(record)
    section = next(section for section in page.sections if section.title == "Trade-off")
    assert [row.cells[0] for row in section.tables[0].rows] == [row.trial for row in front_rows(record)]
    assert section.figures[0].uri.startswith("data:image/svg")
    assert "leads a Pareto front (loss " in page.lead


def test_the_report_says_which_limit_its_first_trial_breaks(sweep):
    _, record, _ = sweep(
        trade, constraints=["tune/loss <= -1"], space=RATE, search={"trials": 4, "sampler": "random"}
    )
    page = report_page(record)
    assert "It does not keep tune/loss <= -1." in page.lead
    assert any("0 trials of 4 keep every limit" in text for s in page.sections for text in s.paragraphs)


def test_what_breaks_a_limit_is_told_ranked_last_and_never_confirmed(sweep):
    plan, record, search = sweep(
        trade, constraints=["tune/loss <= 4"], space=RATE, search={"trials": 12, "sampler": "tpe"}
    )
    rows = leaderboard(record)
    assert {row.feasible for row in rows} == {True, False}
    assert [row.feasible for row in rows] == sorted((row.feasible for row in rows), reverse=True)
    assert best(record).metrics["tune/loss"] <= 4
    assert all(is_feasible(record.trials[name].excess) for name in ranked(plan, record))
    for frozen in search.study.trials:
        excess = frozen.values and record.trials[frozen.user_attrs["trial"]].excess
        assert frozen.constraints == excess
    assert tables(record)["trials"].column("feasible").to_pylist().count(False) > 0


def test_where_nobody_keeps_the_limits_the_nearest_is_confirmed_and_said_to_break_them(sweep):
    plan, record, _ = sweep(
        trade, constraints=["tune/loss <= -1"], space=RATE, search={"trials": 4, "sampler": "random"}
    )
    nearest = min(record.trials.values(), key=lambda trial: trial.excess["tune/loss <= -1"]).trial
    assert ranked(plan, record)[0] == nearest
    assert best(record).trial == nearest
    assert not best(record).feasible


def test_a_repeat_is_answered_from_the_record_and_counts(sweep):
    plan, record, search = sweep(trade, space=FEW, search={"trials": 16, "sampler": "random"})
    repeats = [trial for trial in record.trials.values() if trial.repeats]
    assert repeats
    for trial in repeats:
        original = record.trials[trial.repeats]
        assert trial.params == original.params
        assert (trial.value, trial.status) == (original.value, "finished")
        assert trial.reason == f"same configuration as {trial.repeats}"
        assert trial.episodes_spent == trial.cpu_s == 0
    rows = leaderboard(record)
    assert [row.rank for row in rows if row.repeats] == [None] * len(repeats)
    assert sorted(row.rank for row in rows if row.rank) == list(range(1, len(rows) - len(repeats) + 1))
    assert not set(ranked(plan, record)) & {trial.trial for trial in repeats}
    own = [trial for trial in search.study.trials if "trial" in trial.user_attrs]
    assert [trial.value for trial in own] == [trial.value for trial in record.trials.values()]


def test_a_search_with_nothing_left_to_propose_ends_with_the_reason(sweep):
    _, record, _ = sweep(trade, space=FEW, search={"trials": 16, "sampler": "grid"})
    assert len(record.phase("search")) == 4
    said = [fact.event.reason for fact in read(record.paths.journal) if fact.event.kind == "search_ended"]
    assert said == ["all 4 configurations of the space have been proposed"]


def test_an_earlier_sweep_is_learnt_from_where_its_trials_fit(sweep):
    _, before, _ = sweep(trade, name="before", space=RATE, search={"trials": 10, "sampler": "random"})
    narrow = {**RATE, "tune.offset": {"low": -1.0, "high": 4.0}}
    _, record, search = sweep(
        trade, name="after", space=narrow, search={"trials": 3, "sampler": "tpe", "from": ["before"]}
    )
    fitting = [t for t in before.trials.values() if t.params["tune.offset"] >= -1.0]
    assert 0 < len(fitting) < 10
    assert list(record.trials) == ["t0000", "t0001", "t0002"]
    taken = [trial for trial in search.study.trials if "from" in trial.user_attrs]
    assert [t.user_attrs["from"] for t in taken] == [f"before/{t.trial}" for t in fitting]
    assert [t.value for t in taken] == [t.value for t in fitting]
    fact = next(fact for fact in read(record.paths.journal) if fact.event.kind == "warm_started")
    assert list(fact.event.sweeps) == [
        {"sweep": "before", "taken": len(fitting), "left_out": {"tune.offset is out of range": 10 - len(fitting)},
         "differs": []}
    ]  # fmt: skip


def test_a_value_from_the_preset_there_counts_where_it_is_searched_here(sweep):
    only_rate = {"tune.rate": RATE["tune.rate"]}
    sweep(trade, name="before", space=only_rate, search={"trials": 5, "sampler": "random"})
    _, _, search = sweep(trade, name="after", space=RATE, search={"trials": 1, "from": ["before"]})
    taken = [trial.params for trial in search.study.trials if "from" in trial.user_attrs]
    assert len(taken) == 5
    assert {params["tune.offset"] for params in taken} == {0.0}


def test_a_sweep_that_measured_something_else_is_refused_unless_asked_for(sweep):
    other = {"stages": {"tune": {"steps": 20}}, "dataset": "toy/else", "objective": BOTH[1]}
    sweep(trade, name="before", space=RATE, search={"trials": 4}, **other)
    with pytest.raises(Refused) as caught:
        sweep(trade, name="after", space=RATE, search={"trials": 2, "from": ["before"]})
    for said in (
        "toy/else there, toy/points here",
        "minimize tune/loss there",
        "tune.steps 20 there, 40 here",
    ):
        assert said in str(caught.value)
    with pytest.raises(UserError, match="Did you mean `before`"):
        sweep(trade, name="after", space=RATE, search={"trials": 2, "from": ["befor"]})


def test_conditions_are_checked_and_kept(sweep):
    space = {
        "tune.rate": {"values": [0.1, 0.5]},
        "tune.offset": {"low": -1.0, "high": 1.0, "when": {"tune.rate": 0.5}},
    }
    _, record, _ = sweep(trade, space=space, search={"trials": 12, "sampler": "tpe"})
    for trial in record.trials.values():
        assert ("tune.offset" in trial.params) == (trial.params["tune.rate"] == 0.5)
        assert trial.params["tune.rate"] == 0.5 or trial.configs["tune"]["offset"] == 0.0
    offsets = tables(record)["trials"].column("tune.offset").to_pylist()
    assert [value is None for value in offsets] == [
        t.params["tune.rate"] == 0.1 for t in record.trials.values()
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": [BOTH[0], {"metric": "base/loss"}]}, "must be of the stage `tune`"),
        ({"objective": [BOTH[0], BOTH[0]]}, "is an objective twice"),
        ({"constraints": ["tune/los <= 3"]}, "Did you mean `tune/loss`?"),
        ({"objective": BOTH, "stop": {"rule": "asha"}}, "judges one objective"),
        ({"space": {**RATE, "base.width": {"low": 1.0, "high": 2.0, "when": {"tune.rates": 1}}}}, "is not searched"),
        ({"space": {**RATE, "base.width": {"low": 1.0, "high": 2.0, "when": {"tune.rate": 1}}}}, "continuous range"),
        ({"space": {**FEW, "base.width": {"low": 1.0, "high": 2.0, "when": {"tune.rate": 2}}}}, "is never this value"),
        (
            {"space": {"tune.rate": {"values": [0.1, 0.5], "when": {"tune.offset": 0.0}},
                       "tune.offset": {"values": [0.0, 1.0], "when": {"tune.rate": 0.1}}}},
            "depends on itself",
        ),
        (
            {"space": {**FEW, "base.width": {"low": 1.0, "high": 2.0, "when": {"tune.rate": 0.5}}},
             "search": {"fixed": [{"tune.rate": 0.1, "base.width": 1.5}]}},
            "which this point does not say",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_before_anything_starts(toy_sweep, tmp_path, changes, said):
    with pytest.raises(UserErrors) as caught:
        make_plan(toy_sweep(**{"stop": {"rule": "none"}, "space": RATE, **changes}), Home(tmp_path))
    assert said in str(caught.value)


def test_confirmations_take_the_front_in_its_order(sweep):
    plan, record, search = sweep(trade, objective=BOTH, space=RATE, search={"trials": 8, "sampler": "random"})
    with Journal(record.paths.journal) as journal:
        desk = Desk(journal, plan.spec, search, state=record)
        named = [request.trial for request in confirmations(plan, desk, search)]
    first_two = [row.trial for row in front_rows(record)][:2]
    assert named[:2] == [f"confirm-{rank}-{name}" for rank, name in enumerate(first_two, 1)]
