"""The sweep file: what it accepts, and how it refuses."""

from pathlib import Path

import pytest
from flowsweep.platform.sweep.spec import SweepSpec, load_spec, shipped_sweeps
from flowsweep.platform.sweep.yaml_file import dump_yaml, overridden, parse_yaml, read_yaml
from flowsweep.trainables.config import parse
from flowsweep.trainables.errors import UserError

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"

MINIMAL = {"name": "a", "system": "toy", "dataset": "toy/points", "objective": {"metric": "tune/return"}}


def refusal(**changes) -> str:
    with pytest.raises(UserError) as caught:
        parse(SweepSpec, {**MINIMAL, **changes})
    return str(caught.value)


def test_the_smallest_sweep_has_sensible_defaults():
    spec = parse(SweepSpec, MINIMAL)
    assert spec.search.trials == 16
    assert spec.resources.threads == 1
    assert not set(spec.seeds.tune) & set(spec.seeds.test)


def test_a_misspelt_key_is_named_with_the_nearest_one():
    assert "serch: unknown key. Did you mean `search`?" in refusal(serch={})
    assert "search.trails: unknown key. Did you mean `trials`?" in refusal(search={"trails": 3})


def test_a_wrong_type_is_named_with_its_value():
    message = refusal(search={"trials": "many"})
    assert "search.trials" in message
    assert "'many'" in message
    assert "integer" in message


def test_text_is_not_guessed_to_be_a_number():
    assert "search.trials" in refusal(search={"trials": "8"})


def test_every_mistake_is_named_at_once():
    message = refusal(serch={}, seeds={"tune": [0], "test": [0]}, search={"trials": 0})
    assert all(word in message for word in ("serch", "seeds", "search.trials"))


def test_a_reversed_range_says_so():
    message = refusal(space={"tune.rate": {"low": 2.0, "high": 1.0}})
    assert "space.tune.rate: low 2 must be below high 1" in message


def test_a_log_range_must_be_positive():
    message = refusal(space={"tune.rate": {"low": 0.0, "high": 1.0, "log": True}})
    assert "low 0 must be above 0 on a log scale" in message


def test_tune_and_test_seeds_are_kept_apart():
    assert "tune and test share [1]" in refusal(seeds={"tune": [0, 1], "test": [1, 2]})


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".hidden", "a..b", "a b", "x" * 81, "a\n", "~", "-rf", "a\\b"]
)
def test_a_name_that_could_leave_its_folder_is_refused(name):
    assert "name" in refusal(name=name)


def test_a_sweep_survives_being_written_and_read(tmp_path: Path):
    spec = parse(SweepSpec, {**MINIMAL, "space": {"tune.rate": {"low": 3e-4, "high": 0.1, "log": True}}})
    (tmp_path / "s.yaml").write_text(dump_yaml(spec.model_dump(mode="json")))
    assert load_spec(tmp_path / "s.yaml") == spec


def test_numbers_without_a_point_before_the_exponent_are_numbers():
    assert parse_yaml("{a: 3e-4, b: 1E5, c: -2.5e+3, d: 1.2.3}", "x") == {
        "a": 3e-4,
        "b": 1e5,
        "c": -2500.0,
        "d": "1.2.3",
    }


def test_a_repeated_key_is_refused_with_its_line(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("name: a\nsystem: toy\nname: b\n")
    with pytest.raises(UserError, match=r"s\.yaml:3:1: key `name` appears twice"):
        read_yaml(tmp_path / "s.yaml")


def test_a_broken_file_is_refused_with_its_line(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("name: [a\nsystem: toy\n")
    with pytest.raises(UserError, match=r"s\.yaml:2:7: is not valid YAML"):
        load_spec(tmp_path / "s.yaml")


def test_a_file_cannot_run_code(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("name: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(UserError, match="not valid YAML"):
        load_spec(tmp_path / "s.yaml")


def test_settings_of_the_command_line_reach_dotted_fields():
    values = {"space": {"tune.rate": {"low": 1}}, "search": {"trials": 3}}
    changed = overridden(
        values, {"space.tune.rate.low": "3e-4", "search.sampler": "random", "stop.rule": "asha"}
    )
    assert changed["space"]["tune.rate"]["low"] == 3e-4
    assert changed["search"] == {"trials": 3, "sampler": "random"}
    assert changed["stop"] == {"rule": "asha"}
    assert values["search"] == {"trials": 3}


def test_a_missing_file_lists_the_shipped_sweeps():
    with pytest.raises(UserError, match=r"no such sweep file .*quickstart"):
        load_spec("nowhere.yaml")


@pytest.mark.parametrize("name", sorted(shipped_sweeps()))
def test_every_shipped_sweep_can_be_read(name):
    assert load_spec(name).name == name


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("sweeps/*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_of_the_benchmarks_can_be_read(path):
    assert load_spec(str(path)).name == f"probe-{path.stem}"
