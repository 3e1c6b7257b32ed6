"""The plan: counts of what would run, with sharing already subtracted."""

from pathlib import Path

import pytest
from flowsweep.platform.paths import Home
from flowsweep.platform.store.stages import StageStore
from flowsweep.platform.sweep.plan import concurrent_trials, make_plan
from flowsweep.platform.sweep.room import Node
from flowsweep.platform.sweep.spec import Resources, load_spec
from flowsweep.platform.sweep.yaml_file import dump_yaml
from flowsweep.trainables.artifacts import Provenance
from flowsweep.trainables.base import Snapshot, identity_key
from flowsweep.trainables.errors import UserError


def rows(plan, phase="search"):
    return {row.stage: row for row in plan.stages if row.phase == phase}


def test_a_stage_that_is_not_searched_is_computed_once_per_seed(toy_sweep, tmp_path: Path):
    plan = make_plan(toy_sweep(), Home(tmp_path))
    assert (rows(plan)["base"].needed, rows(plan)["base"].computed) == (12, 2)
    assert (rows(plan)["tune"].needed, rows(plan)["tune"].computed) == (12, 12)
    assert rows(plan)["base"].saved_core_h == pytest.approx(10 * 0.04 / 3600)


def test_a_searched_choice_multiplies_only_its_own_stage(toy_sweep, tmp_path: Path):
    space = {"base.width": {"values": [1.0, 2.0]}, "tune.rate": {"low": 0.1, "high": 0.2}}
    assert rows(make_plan(toy_sweep(space=space), Home(tmp_path)))["base"].computed == 4


def test_confirmation_is_counted_apart(toy_sweep, tmp_path: Path):
    confirm = rows(make_plan(toy_sweep(), Home(tmp_path)), "confirm")
    assert confirm["base"].computed == 2
    assert confirm["tune"].computed == 4


def test_what_is_already_stored_is_not_counted_again(toy_sweep, tmp_path: Path):
    import torch

    plan = make_plan(toy_sweep(), Home(tmp_path))
    stage = plan.resolved.system.stage("base")
    key = identity_key(stage.identity(plan.resolved.configs["base"], {}, plan.fingerprint, 1))
    claim = StageStore(Home(tmp_path).stages).acquire(key, "test")
    claim.publish(Snapshot({"x": torch.zeros(2)}), Provenance())
    row = rows(make_plan(toy_sweep(), Home(tmp_path)))["base"]
    assert (row.computed, row.stored) == (1, 1)


def test_episodes_are_counted_before_they_are_spent(toy_sweep, tmp_path: Path):
    plan = make_plan(toy_sweep(), Home(tmp_path))
    assert plan.episodes == 6 * 2 * 4 * 5 + (2 + 1) * 2 * 8
    assert plan.rungs == (10, 20)


def test_a_plan_is_plain_json_and_starts_nothing(toy_sweep, tmp_path: Path):
    import json

    json.dumps(make_plan(toy_sweep(), Home(tmp_path)).to_json())
    assert not (tmp_path / "sweeps").exists()


def test_a_trial_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"resources.cpus: one trial asks for more CPUs than there are \(2\)"):
        concurrent_trials(Resources(cpus=3), [Node({"CPU": 2})])
    with pytest.raises(UserError, match=r"resources.gpus"):
        concurrent_trials(Resources(gpus=0.5), [Node({"CPU": 2, "GPU": 0})])


@pytest.mark.parametrize(
    ("resources", "capacity", "expected"),
    [
        (Resources(cpus=1), {"CPU": 4}, 4),
        (Resources(cpus=1, concurrent=2), {"CPU": 4}, 2),
        (Resources(cpus=1, gpus=0.25), {"CPU": 16, "GPU": 2}, 8),
        (Resources(cpus=4, gpus=0.25), {"CPU": 16, "GPU": 2}, 4),
    ],
)
def test_as_many_trials_run_at_once_as_fit(resources, capacity, expected):
    assert concurrent_trials(resources, [Node(capacity)]) == expected


def test_an_unknown_dataset_is_refused_by_the_system(toy_sweep, tmp_path: Path):
    with pytest.raises(UserError, match="dataset: is not a toy dataset"):
        make_plan(toy_sweep(dataset="other/points"), Home(tmp_path))


def test_a_space_made_from_the_data_is_planned_with_its_numbers_and_reason(toy_sweep, tmp_path: Path):
    searched = make_plan(toy_sweep(space="of_data"), Home(tmp_path)).to_json()["searched"]
    assert searched["tune.rate"] == {
        "type": "real",
        "low": 0.01,
        "high": 0.1,
        "log": False,
        "reason": "of toy/points",
    }


def test_a_recorded_sweep_keeps_the_ranges_that_were_made_when_it_was_planned(toy_sweep, tmp_path: Path):
    plan = make_plan(toy_sweep(space="of_data", dataset="toy/three"), Home(tmp_path))
    file = tmp_path / "sweep.yaml"
    file.write_text(dump_yaml(plan.spec.model_dump(mode="json")))
    again = make_plan(load_spec(file), Home(tmp_path))
    assert again.resolved.space == plan.resolved.space
    assert again.spec == plan.spec
    # Made anew they would follow the data, which are others now.
    elsewhere = make_plan(load_spec(file, {"dataset": "toy/others-now"}), Home(tmp_path))
    assert elsewhere.resolved.space == plan.resolved.space


def test_data_that_allow_no_space_are_refused(toy_sweep, tmp_path: Path):
    with pytest.raises(UserError, match="too long a name to search"):
        make_plan(toy_sweep(space="of_data", dataset="toy/a-name-that-goes-on"), Home(tmp_path))


def test_compiling_where_there_is_no_compiler_is_refused_before_anything_starts(
    toy_sweep, tmp_path: Path, monkeypatch
):
    spec = toy_sweep(resources={"acceleration": "compile"})
    make_plan(spec, Home(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"resources\.acceleration"):
        make_plan(spec, Home(tmp_path))
    # This machine's compiler says nothing about the cluster's.
    make_plan(spec, Home(tmp_path), elsewhere=True)
