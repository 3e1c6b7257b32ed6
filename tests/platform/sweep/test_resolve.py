"""A sweep against its system: names, types and ranges checked before anything starts."""

import pytest
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.trainables.base import load_system
from flowsweep.trainables.errors import UserError


def refusal(toy_sweep, **changes) -> str:
    with pytest.raises(UserError) as caught:
        resolve(toy_sweep(**changes))
    return str(caught.value)


def test_a_preset_is_amended_by_stage(toy_sweep):
    resolved = resolve(toy_sweep(stages={"tune": {"steps": 7}}))
    assert resolved.configs["tune"].steps == 7
    assert resolved.configs["base"].steps == 40
    assert resolved.trial_configs({"tune.rate": 0.5})["tune"]["rate"] == 0.5


def test_an_unknown_system_lists_the_known_ones(toy_sweep):
    assert "Did you mean `toy`?" in refusal(toy_sweep, system="tоy".replace("о", "oo"))


def test_an_objective_that_no_stage_reports_is_refused(toy_sweep):
    message = refusal(toy_sweep, objective={"metric": "tune/retrun"})
    assert "no stage reports this metric (got 'tune/retrun'). Did you mean `tune/return`?" in message


def test_a_searched_field_must_exist(toy_sweep):
    message = refusal(toy_sweep, space={"tune.rat": {"low": 0.1, "high": 0.2}})
    assert "space.tune.rat" in message
    assert "Did you mean `tune.rate`?" in message


def test_a_stage_after_the_objective_cannot_be_searched(toy_sweep):
    message = refusal(
        toy_sweep,
        objective={"metric": "base/return"},
        space={"tune.rate": {"low": 0.1, "high": 0.2}},
        confirm={"baselines": []},
    )
    assert "no field of a stage up to `base`" in message


def test_a_range_the_field_refuses_is_found_before_the_first_trial(toy_sweep):
    message = refusal(toy_sweep, space={"tune.rate": {"low": 0.5, "high": 2.0}})
    assert "space.tune.rate: reaches 2.0, which the field refuses" in message
    assert "less than or equal to 1" in message


def test_a_fixed_point_outside_its_range_is_refused(toy_sweep):
    message = refusal(toy_sweep, search={"fixed": [{"tune.rate": 2.0}, {"tune.rtae": 0.1}]})
    assert "search.fixed.0.tune.rate: must lie in [0.01, 1] (got 2.0)" in message
    assert "search.fixed.1.tune.rtae: is not searched" in message


def test_a_stage_setting_is_explained(toy_sweep):
    message = refusal(toy_sweep, stages={"tune": {"rate": -1.0}, "bsae": {}})
    assert "stages.tune.rate" in message
    assert "-1.0" in message
    assert "stages.bsae: unknown stage. Did you mean `base`?" in message


def test_an_unknown_preset_space_or_baseline_is_refused(toy_sweep):
    assert "preset" in refusal(toy_sweep, preset="offcial")
    assert "space" in refusal(toy_sweep, space="defualt")
    assert "confirm.baselines" in refusal(toy_sweep, confirm={"baselines": ["bass"]})


def test_a_space_made_from_the_data_waits_until_they_are_open(toy_sweep):
    fixed = {"fixed": [{"tune.rate": 0.5}]}
    spec = toy_sweep(space="of_data", search=fixed)
    assert resolve(spec).space == {}
    assert resolve(spec).spec == spec
    source = load_system("toy").open_source(spec.dataset)
    with pytest.raises(UserError, match=r"tune.rate: must lie in \[0.01, 0.1\] \(got 0.5\)"):
        resolve(spec, source)
    assert resolve(toy_sweep(space="of_data"), source).space["tune.rate"].high == 0.1
    assert "confirm.baselines" in refusal(toy_sweep, space="of_data", confirm={"baselines": ["bass"]})


def test_the_resolved_sweep_writes_its_ranges_out(toy_sweep):
    resolved = resolve(toy_sweep())
    assert resolved.spec.space == resolved.space
    assert resolve(resolved.spec) == resolved
