"""Sweeps that go on: resumed, extended, retried, over budget. Trials run in this process, placed by us instead of Ray."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from functools import partial
from pathlib import Path

import optuna
import pytest
from flowsweep.platform import driver
from flowsweep.platform.errors import Refused, UserError
from flowsweep.platform.going_on.courses import courses
from flowsweep.platform.going_on.extension import checked_extension
from flowsweep.platform.going_on.retrying import Chosen
from flowsweep.platform.going_on.taking_up import Going
from flowsweep.platform.paths import Home
from flowsweep.platform.record.journal import Fact, read
from flowsweep.platform.record.results import leaderboard, read_sweep
from flowsweep.platform.rerun import rerun
from flowsweep.platform.running.ray_bridge import Marshal, TrialQueue
from flowsweep.platform.running.scheduling import evaluations_without_gain
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.room import Node
from flowsweep.platform.sweep.spec import load_spec
from flowsweep.trainables.failures import Failure
from flowsweep.trainables.tune import StageWalk
from ray.tune.search import Searcher


def place(plan, paths, queue: TrialQueue, marshal: Marshal, store) -> None:
    """One trial after the other, as a single worker of Ray would take them."""
    number, desk = 0, marshal._desk
    while (config := queue.suggest(str(number))) != Searcher.FINISHED:
        if not config:
            continue
        trial, walk = config["request"]["trial"], StageWalk.__new__(StageWalk)
        walk.setup(config, store, paths.root)
        action = "continue"
        while action == "continue":
            said = walk.step()
            failure = Failure.from_json(said["failure"]) if said["failure"] else None
            decision = desk.receive(trial, said["events"], said["complete"], failure, said["left"])
            action = decision.action
        if action == "retry":
            queue.take_up_again(str(number), decision.lanes)
        queue.on_trial_complete(str(number))
        number += 1


class NoTracker:
    def close(self, *_):
        return 0


class Sweep:
    """A sweep of the toy system under a name, and what is on record of it."""

    def __init__(self, home: Home, spec):
        self.home, self.spec, self.paths = home, spec, home.sweep(spec.name)
        self.said: list[Fact] = []

    def run(self, **how):
        plan = make_plan(self.spec, self.home)
        return driver.run_sweep(plan, self.home, watch=self.said.append, going=Going(**how))

    def resume(self, changes: dict[str, str] | None = None, **how):
        checked_extension(changes or {}, self.paths)
        self.spec = load_spec(self.paths.spec, changes)
        return self.run(resume=True, **how)

    def facts(self, *kinds: str) -> list[Fact]:
        return [fact for fact in read(self.paths.journal) if not kinds or fact.kind in kinds]

    def endings(self) -> dict[str, str]:
        return {
            name: course.ending["status"] for name, course in courses(self.facts()).items() if course.ending
        }

    def study(self, name: str | None = None) -> optuna.Study:
        return optuna.load_study(study_name=name or self.spec.name, storage=self.paths.study)


@pytest.fixture
def sweep(toy_sweep, tmp_path: Path, monkeypatch):
    """Build a sweep with changes to the toy's; nothing but the placing and the tracker is other than in a real one."""
    monkeypatch.setattr(
        driver, "connection", lambda address: contextlib.nullcontext({"CPU": 1.0, "GPU": 0.0})
    )
    monkeypatch.setattr(driver, "places", partial(driver.places, look=lambda: [Node({"CPU": 1.0})]))
    monkeypatch.setattr(driver, "_place", place)
    monkeypatch.setattr(driver, "_tracker", lambda *_: NoTracker())
    monkeypatch.setattr(driver, "conclude", lambda *_: None)
    quick = {"stop": {"rule": "none"}, "confirm": {"top": 0, "baselines": []}, "search": {"trials": 3}}
    return lambda **changes: Sweep(Home(tmp_path), toy_sweep(**{**quick, **changes}))


def steps_scored(sweep: Sweep, trial: str) -> list[int]:
    return [
        f.data["step"] for f in sweep.facts("evaluated") if f.trial == trial and f.data["stage"] == "tune"
    ]


def test_finished_trials_go_on_to_more_steps_from_where_they_ended(sweep):
    swept = sweep(confirm={"top": 1, "episodes": 4})
    swept.run()
    before = swept.facts()
    swept.resume({"stages.tune.steps": "60"})
    assert swept.facts()[: len(before)] == before
    for trial in ("t0000", "t0001", "t0002"):
        assert steps_scored(swept, trial) == [10, 20, 30, 40, 50, 60]
        continued = [f.data["step"] for f in swept.facts("continued") if f.trial == trial]
        assert continued == [40]
    assert set(swept.endings().values()) == {"finished"}
    record = read_sweep(swept.paths)
    assert {row.steps for row in leaderboard(record)} == {60}
    study = swept.study("toy~1")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert [trial.value for trial in study.trials] == [record.trials[f"t000{n}"].value for n in range(3)]
    assert [trial.last_step for trial in swept.study("toy").trials] == [40] * 3


def test_a_trial_taken_further_equals_one_that_had_the_steps_from_the_start(sweep):
    swept = sweep(search={"trials": 1})
    swept.run()
    swept.resume({"stages.tune.steps": "60"})
    verdict = rerun(swept.paths, swept.home, "t0000")
    assert verdict.verdict == "reproduced"
    assert verdict.equal == verdict.compared > 10


def test_fewer_steps_or_those_of_an_earlier_stage_are_refused(sweep):
    swept = sweep(search={"trials": 1})
    swept.run()
    with pytest.raises(Refused, match="already gone 40 steps"):
        swept.resume({"stages.tune.steps": "20"})
    with pytest.raises(Refused, match=r"stages\.base\.steps"):
        swept.resume({"stages.base.steps": "60"})


def test_a_narrower_space_proposes_nothing_outside_and_keeps_the_old_trials(sweep):
    swept = sweep(search={"trials": 4, "sampler": "random"})
    swept.run()
    old = {f.trial: f.data["params"]["tune.offset"] for f in swept.facts("trial_proposed")}
    swept.resume({"search.trials": "10", "space.tune.offset.low": "0.0"})
    new = [f for f in swept.facts("trial_proposed") if f.trial not in old]
    assert len(new) == 6
    assert all(f.data["params"]["tune.offset"] >= 0 for f in new)
    renewed = swept.facts("study_renewed")[0].data
    assert renewed["outside"] == [trial for trial, offset in old.items() if offset < 0]
    assert len(read_sweep(swept.paths).trials) == 10
    states = Counter(trial.state.name for trial in swept.study("toy~1").trials)
    assert states["FAIL"] == len(renewed["outside"])


def test_a_wider_space_keeps_every_old_trial(sweep):
    swept = sweep(search={"trials": 3})
    swept.run()
    swept.resume({"search.trials": "5", "space.tune.offset.high": "8.0"})
    assert swept.facts("study_renewed")[0].data["outside"] == []
    assert [trial.state.name for trial in swept.study("toy~1").trials] == ["COMPLETE"] * 5


def test_a_parameter_may_not_become_another_kind(sweep):
    swept = sweep(search={"trials": 1})
    swept.run()
    with pytest.raises(Refused, match="becomes another kind of parameter"):
        swept.resume({"space.tune.rate": '{"values": [0.1, 0.2]}'})


FAILING = {"tune.fail_at": {"values": [7, 1000]}, "tune.diverge_at": {"values": [5, 1000]}}
POINTS = [{"tune.fail_at": f, "tune.diverge_at": d} for f, d in ((7, 1000), (1000, 5), (1000, 1000))]


def test_failed_trials_are_tried_again_under_their_names_and_told_to_the_search(sweep, monkeypatch):
    swept = sweep(space=FAILING, search={"trials": 3, "fixed": POINTS})
    swept.run()
    assert swept.endings() == {"t0000": "failed", "t0001": "diverged", "t0002": "finished"}
    monkeypatch.setenv("TOY_NEVER_FAILS", "1")
    swept.resume(retry=Chosen(("code_error",)))
    assert swept.endings() == {"t0000": "finished", "t0001": "diverged", "t0002": "finished"}
    retried = swept.facts("trial_retried")
    assert [(f.trial, f.data["class"], f.data["asked"]) for f in retried] == [("t0000", "code_error", True)]
    assert [f.data["status"] for f in swept.facts("trial_ended") if f.trial == "t0000"] == [
        "failed",
        "finished",
    ]
    assert [trial.state.name for trial in swept.study("toy~1").trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    swept.resume(retry=Chosen())
    assert swept.endings()["t0001"] == "finished"
    assert steps_scored(swept, "t0001") == [10, 20, 30, 40]
    assert read_sweep(swept.paths).trials["t0001"].retries == 1


def test_what_cannot_be_tried_again_is_refused(sweep):
    swept = sweep(search={"trials": 1})
    swept.run()
    with pytest.raises(Refused, match="no trial of this sweep has failed"):
        swept.resume(retry=Chosen())
    with pytest.raises(Refused, match="ran to its end"):
        swept.resume(retry=Chosen(trials=("t0000",)))
    with pytest.raises(UserError, match="no such trial"):
        swept.resume(retry=Chosen(trials=("t0009",)))
    with pytest.raises(UserError, match="Did you mean `out_of_memory`"):
        Chosen(("out_of_memry",))


def test_out_of_memory_is_tried_once_more_with_one_seed_after_the_other_and_equal_results(sweep):
    whole = sweep(name="whole", search={"trials": 1})
    whole.run()
    short = sweep(name="short", search={"trials": 1}, stages={"tune": {"lanes_that_fit": 1}})
    short.run()
    assert short.endings() == {"t0000": "finished"}
    retried = short.facts("trial_retried")[0].data
    assert (retried["class"], retried["lanes"], retried["asked"]) == ("out_of_memory", 1, False)
    reported = [
        [f.data["metrics"] for f in each.facts("progress", "evaluated") if f.data["stage"] == "tune"]
        for each in (whole, short)
    ]
    assert reported[0] == reported[1]


def test_out_of_memory_with_one_seed_at_once_ends_the_trial(sweep):
    swept = sweep(search={"trials": 1}, stages={"tune": {"lanes_that_fit": 0}})
    swept.run()
    ended = swept.facts("trial_ended")[0].data
    assert (ended["status"], ended["failure"]) == ("out_of_memory", "out_of_memory")
    assert len(swept.facts("trial_retried")) == 1
    assert "out of memory" in (swept.paths.trials / "t0000" / "traceback.txt").read_text().lower()


def test_a_spent_budget_lets_no_further_trial_start(sweep):
    # Two seeds: 40 steps of `base` each once, then 2 x 40 of `tune` for every trial.
    swept = sweep(search={"trials": 5}, budget={"steps": 200})
    swept.run()
    assert len(swept.facts("trial_proposed")) == 2
    decision = next(f for f in swept.facts("decision") if f.trial is None)
    assert decision.data["rule"] == "budget.steps"
    assert decision.data["reason"] == "240 of 200 updates spent"
    assert read_sweep(swept.paths).decisions == ["budget.steps: 240 of 200 updates spent"]
    assert swept.facts("sweep_ended")[-1].data == {
        "status": "finished",
        "reason": "budget.steps: 240 of 200 updates spent",
    }


def test_what_was_spent_is_known_right_after_a_resume_and_more_may_be_given(sweep):
    swept = sweep(search={"trials": 5}, budget={"steps": 200})
    swept.run()
    swept.resume()
    assert len(swept.facts("trial_proposed")) == 2
    swept.resume({"budget.steps": "400"})
    assert len(swept.facts("trial_proposed")) == 4


def test_trials_under_way_leave_with_their_state_when_the_budget_says_so(sweep, monkeypatch):
    monkeypatch.setattr("flowsweep.trainables.tune.REPORT_EVERY_S", 0.0)
    swept = sweep(search={"trials": 2}, budget={"steps": 100, "running": "stop"})
    swept.run()
    assert swept.endings() == {"t0000": "cancelled"}
    assert next(f for f in swept.facts("decision") if f.trial == "t0000").data["rule"] == "budget.steps"
    swept.resume({"budget.steps": "1000"})
    assert swept.endings() == {"t0000": "finished", "t0001": "finished"}
    assert steps_scored(swept, "t0000") == [10, 20, 30, 40]
    assert swept.facts("continued")[0].trial == "t0000"


@pytest.mark.parametrize("rule", ["none", "asha"])
def test_patience_ends_a_trial_that_gains_too_little_whatever_the_other_rule_says(sweep, rule):
    swept = sweep(
        search={"trials": 2},
        stop={"rule": rule, "min_steps": 10, "reduction": 2, "patience": 2, "min_delta": 100.0},
    )
    swept.run()
    assert swept.endings() == {"t0000": "pruned", "t0001": "pruned"}
    decided = next(f for f in swept.facts("decision") if f.trial == "t0000")
    assert decided.data["rule"] == "patience"
    assert "none of the last 2 evaluations was better by more than 100" in decided.data["reason"]
    assert steps_scored(swept, "t0000") == [10, 20, 30]
    assert {row.rank for row in leaderboard(read_sweep(swept.paths))} == {None}
    assert {trial.state.name for trial in swept.study().trials} == {"PRUNED"}


def test_the_best_so_far_counts_and_not_the_last():
    assert evaluations_without_gain([1.0, 3.0, 2.0, 2.5], 0.0, True) == 2
    assert evaluations_without_gain([3.0, 1.0, 2.0, 0.5], 0.0, False) == 0
    assert evaluations_without_gain([1.0, 1.05, 1.09], 0.1, True) == 2


def test_a_trial_over_its_own_budget_is_stopped_early_and_never_ranked(sweep, monkeypatch):
    monkeypatch.setattr("flowsweep.trainables.tune.REPORT_EVERY_S", 0.0)
    swept = sweep(search={"trials": 1}, budget={"trial_core_hours": 1e-9})
    swept.run()
    assert swept.endings() == {"t0000": "pruned"}
    assert swept.facts("decision")[0].data["rule"] == "budget.trial_core_hours"
    assert [row.rank for row in leaderboard(read_sweep(swept.paths))] in ([], [None])


def test_changed_data_are_gone_on_over_only_when_asked_for_and_then_on_record(sweep, monkeypatch):
    swept = sweep(search={"trials": 1})
    swept.run()
    monkeypatch.setenv("TOY_DATA_VERSION", "2")
    with pytest.raises(Refused, match="dataset: has changed since the sweep began: fingerprint"):
        swept.resume({"search.trials": "2"})
    swept.resume({"search.trials": "2"}, anyway=True)
    assert swept.facts("sweep_resumed")[-1].data["despite"][0].startswith("dataset: fingerprint")
    swept.resume({"search.trials": "3"})


def test_changed_code_of_a_stage_is_refused_with_the_difference(sweep, monkeypatch):
    swept = sweep(search={"trials": 1})
    swept.run()
    monkeypatch.setattr("toy_system.ToyStage.version", 2)
    with pytest.raises(Refused, match="stage base: version 1 then, 2 now"):
        swept.resume({"search.trials": "2"})
    swept.resume({"search.trials": "2"}, anyway=True)
    assert "stage base: version 1 then, 2 now" in swept.facts("sweep_resumed")[-1].data["despite"]


def test_other_packages_are_warned_of_by_name(sweep, monkeypatch):
    swept = sweep(search={"trials": 1})
    swept.run()
    lines = swept.paths.journal.read_text().splitlines()
    first = json.loads(lines[0])
    first["data"]["versions"]["torch"] = "0.1"
    swept.paths.journal.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    swept.said.clear()
    swept.resume()
    assert [f.data["text"].split(" then")[0] for f in swept.said if f.kind == "warning"] == [
        "changed since the sweep was last run: torch 0.1"
    ]
