"""What `plan` accepts can run: values that no library below takes are refused under their own key, before anything starts."""

from __future__ import annotations

import pytest
from flowsweep.platform.paths import Home
from flowsweep.platform.search.distributions import same_configuration
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.spec import SweepSpec
from flowsweep.trainables.config import parse
from flowsweep.trainables.errors import UserError

SWEEP = {
    "name": "case",
    "system": "rehearsal",
    "dataset": "rehearsal/points",
    "stages": {"pretrain": {"steps": 40}, "refine": {"steps": 60}},
    "space": {
        "refine.rate": {"low": 0.01, "high": 1.0, "log": True},
        "refine.goal": {"low": 0.0, "high": 2.0},
    },
    "objective": {"metric": "refine/return"},
    "search": {"trials": 4},
    "seeds": {"tune": [0], "test": [10]},
    "evaluation": {"episodes": 4, "every_steps": 20},
    "confirm": {"top": 1, "episodes": 4},
}


def plan(home, **changes):
    return make_plan(parse(SweepSpec, {**SWEEP, **changes}), Home(home))


def refusal(home, **changes) -> str:
    with pytest.raises(UserError) as caught:
        plan(home, **changes)
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sampler", "options", "said"),
    [
        ("tpe", {"gamma": 1}, "sampler_options.gamma: takes a Python object"),
        ("tpe", {"weights": 1}, "sampler_options.weights: takes a Python object"),
        ("tpe", {"n_ei_candidates": 0}, "search.sampler_options: the sampler refuses them"),
        ("tpe", {"n_ei_candidates": 10**12}, "n_ei_candidates: must lie in 0 to 100,000"),
        (
            "tpe",
            {"n_ei_candidates": 0, "n_startup_trials": 1000},
            "search.sampler_options: the sampler refuses them",
        ),
        ("tpe", {"n_startup_trials": -1}, "n_startup_trials: must lie in 0 to"),
        ("cmaes", {"popsize": 0}, "search.sampler_options: the sampler refuses them"),
        ("cmaes", {"independent_sampler": "x"}, "independent_sampler: takes a Python object"),
        ("nsgaii", {"population_size": 0}, "search.sampler_options: the sampler refuses them"),
        ("nsgaii", {"crossover_prob": 2.0}, "search.sampler_options: the sampler refuses them"),
        ("qmc", {"qmc_type": "none"}, "search.sampler_options: the sampler refuses them"),
        ("gp", {"independent_sampler": 1}, "independent_sampler: takes a Python object"),
    ],
)
def test_options_that_a_sampler_cannot_work_with(tmp_path, sampler, options, said):
    search = {"trials": 4, "sampler": sampler, "sampler_options": options}
    assert said in refusal(tmp_path, search=search)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", "nsgaii"])
def test_samplers_as_they_are_pass(tmp_path, sampler):
    assert plan(tmp_path, search={"trials": 4, "sampler": sampler}).trials == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": {"seed": 2**32}}, "search.seed: should be less than or equal to 4294967295"),
        ({"seeds": {"tune": [2**64], "test": [1]}}, "seeds.tune.0: is a whole number beyond 63 bits"),
        ({"seeds": {"tune": [2**40], "test": [1]}}, "seeds: seeds must lie in 0 to 4294967295"),
        (
            {"space": {"refine.nan_at": {"type": "integer", "low": 0, "high": 10**20}}},
            "high: is a whole number",
        ),
        ({"space": {"refine.goal": {"low": -1.7e308, "high": 1.7e308}}}, "space.refine.goal"),
        ({"resources": {"cpus": 1e-6}}, "resources.cpus: should be greater than or equal to 0.01"),
        ({"resources": {"gpus": 1.5}}, "resources.gpus: must be 0, a share of one GPU"),
        ({"resources": {"threads": 100000}}, "resources.threads: should be less than or equal to 1024"),
        ({"resources": {"threads": 1024}}, "resources.threads: more threads than the"),
        ({"tracking": {"experiment": "x" * 600}}, "tracking.experiment: is longer than the 256"),
        ({"tracking": {"experiment": " "}}, "tracking.experiment: must not be empty"),
        ({"tracking": {"uri": "databricks"}}, "tracking.uri: names a Databricks workspace"),
    ],
)
def test_values_that_no_library_below_accepts(tmp_path, changes, said):
    assert said in refusal(tmp_path, **changes)


def test_a_stage_store_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        stages = str(tmp_path / place)
        assert "storage.stages" in refusal(tmp_path / "home", storage={"stages": stages})
    plan(tmp_path / "home", storage={"stages": str(tmp_path / "new" / "deep")})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize("values", [[0, 0], [1, 1.0], ["a", "b", "a"], [0.5, 1, 0.5]])
def test_a_value_listed_twice_is_refused(tmp_path, values):
    assert "same value twice" in refusal(tmp_path, space={"refine.goal": {"values": values}})


def test_one_configuration_is_planned_and_shown_as_one_trial(tmp_path):
    made = plan(tmp_path, space={}, search={"trials": 16})
    assert made.trials == 1
    assert {row.computed for row in made.stages if row.phase == "search"} == {1}
    assert made.to_json()["trials"] == 1
    assert "search: the space has one configuration, so one trial is run, not 16" in made.warnings


def test_a_finite_space_is_planned_with_what_it_holds(tmp_path):
    space = {"pretrain.ballast_mib": {"type": "integer", "low": 0, "high": 2}}
    made = plan(tmp_path, space=space, search={"trials": 16})
    assert made.trials == 3
    assert {row.stage: row.computed for row in made.stages if row.phase == "search"} == {
        "pretrain": 3,
        "refine": 3,
    }


def test_one_notion_of_the_same_configuration():
    same = same_configuration
    assert same({"a": 1, "b": -0.0}) == same({"b": 0, "a": 1.0})
    assert same({"a": 1}) != same({"a": True})
    assert same({"a": 1}) != same({"a": "1"})
    assert same({"a": 2**60}) != same({"a": 2**60 + 1})
