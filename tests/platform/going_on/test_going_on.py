"""Sweeps that are extended, and whether they are still the same ones."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from flowsweep.platform.errors import Refused
from flowsweep.platform.record.results import leaderboard, read_sweep
from flowsweep.platform.rerun import rerun


def test_finished_trials_go_on_to_more_steps_from_where_they_ended(sweep):
    swept = sweep(confirm={"top": 1, "episodes": 4})
    swept.run()
    before = swept.facts()
    swept.resume({"stages.tune.steps": "60"})
    assert swept.facts()[: len(before)] == before
    for trial in ("t0000", "t0001", "t0002"):
        assert swept.steps_scored(trial) == [10, 20, 30, 40, 50, 60]
        continued = [f.event.step for f in swept.facts("continued") if f.trial == trial]
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
    old = {f.trial: f.event.params["tune.offset"] for f in swept.facts("trial_proposed")}
    swept.resume({"search.trials": "10", "space.tune.offset.low": "0.0"})
    new = [f for f in swept.facts("trial_proposed") if f.trial not in old]
    assert len(new) == 6
    assert all(f.event.params["tune.offset"] >= 0 for f in new)
    renewed = swept.facts("study_renewed")[0].event
    assert list(renewed.outside) == [trial for trial, offset in old.items() if offset < 0]
    assert len(read_sweep(swept.paths).trials) == 10
    states = Counter(trial.state.name for trial in swept.study("toy~1").trials)
    assert states["FAIL"] == len(renewed.outside)


def test_a_wider_space_keeps_every_old_trial(sweep):
    swept = sweep(search={"trials": 3})
    swept.run()
    swept.resume({"search.trials": "5", "space.tune.offset.high": "8.0"})
    assert swept.facts("study_renewed")[0].event.outside == ()
    assert [trial.state.name for trial in swept.study("toy~1").trials] == ["COMPLETE"] * 5


def test_a_parameter_may_not_become_another_kind(sweep):
    swept = sweep(search={"trials": 1})
    swept.run()
    with pytest.raises(Refused, match="becomes another kind of parameter"):
        swept.resume({"space.tune.rate": '{"values": [0.1, 0.2]}'})


def test_changed_data_are_gone_on_over_only_when_asked_for_and_then_on_record(sweep, monkeypatch):
    swept = sweep(search={"trials": 1})
    swept.run()
    monkeypatch.setenv("TOY_DATA_VERSION", "2")
    with pytest.raises(Refused, match="dataset: has changed since the sweep began: fingerprint"):
        swept.resume({"search.trials": "2"})
    swept.resume({"search.trials": "2"}, anyway=True)
    assert swept.facts("sweep_resumed")[-1].event.despite[0].startswith("dataset: fingerprint")
    swept.resume({"search.trials": "3"})


def test_changed_code_of_a_stage_is_refused_with_the_difference(sweep, monkeypatch):
    swept = sweep(search={"trials": 1})
    swept.run()
    monkeypatch.setattr("toy_system.ToyStage.version", 2)
    with pytest.raises(Refused, match="stage base: version 1 then, 2 now"):
        swept.resume({"search.trials": "2"})
    swept.resume({"search.trials": "2"}, anyway=True)
    assert "stage base: version 1 then, 2 now" in swept.facts("sweep_resumed")[-1].event.despite


def test_other_packages_are_warned_of_by_name(sweep, monkeypatch):
    swept = sweep(search={"trials": 1})
    swept.run()
    lines = swept.paths.journal.read_text().splitlines()
    first = json.loads(lines[0])
    first["event"]["versions"]["torch"] = "0.1"
    swept.paths.journal.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    swept.said.clear()
    swept.resume()
    assert [f.event.text.split(" then")[0] for f in swept.said if f.event.kind == "warning"] == [
        "changed since the sweep was last run: torch 0.1"
    ]
