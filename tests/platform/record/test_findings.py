"""Searched ranges that could not matter are said, with the trials and the evidence."""

from __future__ import annotations

import json

import pytest
from flowsweep.platform import cli
from flowsweep.platform.journal.events import SweepEnded, SweepStarted, TrialEnded, TrialProposed
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.paths import Home
from flowsweep.platform.record.findings import findings, idle_ranges, summarized, trials_text
from flowsweep.platform.record.pace import pace, paces
from flowsweep.platform.record.results import read_sweep, tables
from flowsweep.platform.report.report import write_report
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.trainables.base import SettingFinding, load_system
from flowsweep.trainables.events import Evaluated, Progress


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def record(home, toy_system):
    """Record trials of the toy system as a driver would; each is (params, changes to `tune`, losses, episodes)."""

    def build(*trials, system="toy", metric="tune/return"):
        with Journal(home.sweep("s").journal) as journal:
            objective = {"metric": metric, "direction": "maximize"}
            journal.append(
                SweepStarted(name="s", spec={"system": system, "dataset": "d", "objective": objective})
            )
            for number, (params, changes, losses, episodes) in enumerate(trials):
                trial = f"t{number}"
                configs = {
                    name: config.model_dump(mode="json")
                    for name, config in load_system("toy").presets["default"]().items()
                }
                configs["tune"] |= changes
                journal.append(
                    TrialProposed(
                        phase="search", params=params, configs=configs, seeds=[0, 1], through="tune"
                    ),
                    trial,
                )
                for report, lanes in enumerate(losses, 1):
                    journal.append(Progress(stage="tune", step=10 * report, steps=40, seeds=[0, 1], metrics={"loss": lanes}, cpu_s=0.5, wall_s=0.25), trial)  # fmt: skip
                if episodes:
                    journal.append(Evaluated(stage="tune", step=40, steps=40, seeds=[0, 1], metrics={"return": [sum(lane) / len(lane) for lane in episodes]}, episodes=[{"return": lane} for lane in episodes], episodes_spent=8, cpu_s=1.0), trial)  # fmt: skip
                journal.append(TrialEnded(status="finished", reason="", value=None), trial)
            journal.append(SweepEnded(status="finished", reason=""))
        return read_sweep(home.sweep("s"))

    return build


MOVING, STILL = [[3.0, 2.0], [1.0, 1.0]], [[1.0, 3.0], [2.0, 2.0]]  # means over seeds: 2.5, 1 and 2, 2
RATE = {"tune.rate": 0.1}


def rules(found):
    return [(finding.rule, finding.setting, finding.trials) for finding in found]


def test_a_trial_s_own_warnings_stand_in_the_results(record):
    found = findings(
        record((RATE, {"offset": 7.0}, [], None), (RATE, {}, [], None), (RATE, {"offset": 9.0}, [], None))
    )
    assert rules(found) == [("warning", "tune", ("t0",)), ("warning", "tune", ("t2",))]
    assert found[0].reason == "offset 7 is out of reach"
    (once,) = summarized(found)
    assert once.trials == ("t0", "t2")
    assert trials_text(once, 3) == "t0, t2"
    assert trials_text(once, 2) == "every trial"


def test_a_searched_value_that_nothing_read_is_said_and_others_are_not(record):
    off = {"noise": "off"}
    searched = {"tune.noise_size": 0.1}
    found = findings(record((searched, off, [], None), (searched, {}, [], None)))
    assert rules(found) == [("unread", "tune.noise_size", ("t0",))]
    assert "`noise: off` adds none" in found[0].reason


def test_what_is_not_searched_may_be_unread(record):
    assert findings(record(({"tune.offset": 1.0}, {"noise": "off"}, [], None))) == []


def test_a_stage_reads_its_metrics_averaged_over_seeds_and_its_settings_get_its_name(record):
    found = findings(record((RATE, {}, MOVING, None), (RATE, {}, STILL, None)))
    assert found == [SettingFinding("still", "tune.rate", "the loss stayed at 2", ("t1",))]


def test_a_stage_is_told_what_is_searched(record):
    assert findings(record(({"tune.offset": 1.0}, {}, STILL, None))) == []


def test_equal_scores_mean_that_no_range_could_be_seen_to_matter(record):
    zeros = [[0.0] * 4, [0.0] * 4]
    (found,) = findings(record(*[(RATE, {}, [], zeros)] * 3))
    assert (found.rule, found.setting, found.trials) == ("objective_flat", "tune.rate", ("t0", "t1", "t2"))
    assert "every one of 3 finished trials scored 0" in found.reason


def test_scores_within_the_noise_of_episodes_are_flat_and_scores_beyond_it_are_not(record, home):
    def lanes(shift, swap):
        episodes = [0.1, 0.9, 0.4, 0.7, 0.2, 0.6]
        return [[value + shift for value in (reversed(episodes) if swap else episodes)]] * 2

    noisy = record(*[(RATE, {}, [], lanes(0.001 * number, number % 2)) for number in range(4)])
    (found,) = findings(noisy)
    assert found.rule == "objective_flat"
    assert "Friedman's test, p = " in found.reason


def test_a_real_difference_is_not_called_flat(record):
    better = [[0.1 + 0.2 * rank + 0.01 * episode for episode in range(6)] for rank in range(4)]
    assert findings(record(*[(RATE, {}, [], [lane, lane]) for lane in better])) == []


def test_two_trials_are_too_few_to_call_anything_flat(record):
    assert findings(record(*[(RATE, {}, [], [[0.0], [0.0]])] * 2)) == []


def test_without_the_system_only_the_scores_are_read(record):
    zeros = [[0.0] * 4, [0.0] * 4]
    found = findings(record(*[(RATE, {"offset": 7.0}, STILL, zeros)] * 3, system="gone"))
    assert [finding.rule for finding in found] == ["objective_flat"]


def test_a_configuration_of_another_version_is_passed_over(record):
    found = findings(
        record((RATE, {"offset": 7.0, "no_such_field": 1}, STILL, None), (RATE, {}, STILL, None))
    )
    assert rules(found) == [("still", "tune.rate", ("t1",))]


def test_show_its_json_and_the_report_say_it(record, home, monkeypatch, capsys):
    made = record((RATE, {"offset": 7.0}, STILL, None), (RATE, {}, MOVING, None))
    monkeypatch.setenv("FLOWSWEEP_HOME", str(home.root))

    def said(*arguments):
        monkeypatch.setattr("sys.argv", ["flowsweep", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().out

    shown = json.loads(said("show", "s", "--json"))
    assert [finding["rule"] for finding in shown["findings"]] == ["warning", "still"]
    first = shown["trials"]["t0"]
    assert (first["status"], first["updates_per_s"], first["cpu_s_per_update"]) == ("finished", 80.0, 0.025)
    text = said("show", "s")
    assert "tune.rate  (t0)  the loss stayed at 2" in text
    assert "One update of one seed took: tune 25 CPU-ms (80 per second)." in text
    page = write_report(made.paths).read_text()
    assert "Settings that were not at work" in page
    assert "offset 7 is out of reach" in page
    assert "CPU-ms each" in page


def test_a_range_nothing_reads_is_said_before_anything_starts(toy_sweep, home):
    space = {"tune.noise_size": {"low": 0.0, "high": 1.0}, "tune.rate": {"low": 0.1, "high": 0.2}}
    off = {"tune": {"noise": "off"}}
    made = make_plan(toy_sweep(space=space, stages=off), home)
    assert made.to_json()["warnings"] == ["tune.noise_size is searched in vain: `noise: off` adds none"]
    assert make_plan(toy_sweep(space=space), home).warnings == ()


def test_a_range_some_choice_reads_is_not_in_vain(toy_sweep):
    space = {"tune.noise_size": {"low": 0.0, "high": 1.0}, "tune.noise": {"values": ["off", "on"]}}
    assert idle_ranges(resolve(toy_sweep(space=space, stages={"tune": {"noise": "off"}}))) == []


def test_a_walk_reports_the_elapsed_time_of_its_updates(walked):
    home = walked("s", "t0")
    found = paces(read_sweep(home.sweep("s")))
    assert {stage: one.updates for stage, one in found.items()} == {"base": 40, "tune": 40}
    assert all(one.updates_per_s and one.cpu_s_per_update for one in found.values())


def test_updates_are_counted_once_though_a_restart_reports_them_again(home, toy_system):
    reports = [((0, 1), 10), ((0, 1), 20), ((0, 1), 10), ((0, 1), 20), ((0, 1), 40), ((5,), 30)]
    with Journal(home.sweep("s").journal) as journal:
        journal.append(TrialProposed(params={}, configs={}, seeds=[0, 1], through="tune"), "t0")
        for seeds, step in reports:
            journal.append(Progress(stage="tune", step=step, steps=40, seeds=list(seeds), metrics={}, cpu_s=1.0, wall_s=2.0), "t0")  # fmt: skip
    trial = read_sweep(home.sweep("s")).trials["t0"]
    found = pace(trial, "tune")
    assert found.updates == 2 * (10 + 10 + 10 + 10 + 20) + 30
    assert (found.cpu_s, found.wall_s) == (6.0, 12.0)
    assert found.updates_per_s == pytest.approx(150 / 12)


def test_the_table_of_trials_holds_their_speed_and_nothing_where_none_was_reported(record):
    made = record((RATE, {}, MOVING, None))
    assert paces(made)["tune"].cpu_s_per_update == pytest.approx(1.0 / 40)
    trials = tables(made)["trials"].to_pylist()
    assert trials[0]["updates_per_s"] == pytest.approx(80.0)
    assert trials[0]["cpu_s_per_update"] == pytest.approx(0.025)
    assert pace(made.trials["t0"], "base").updates_per_s is None
