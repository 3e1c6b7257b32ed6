import json

import pytest
from flowsweep.platform.cli import data
from flowsweep.trainables.errors import UserError
from typer.testing import CliRunner


def run(*arguments):
    result = CliRunner().invoke(data.app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def from_json(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


def test_recipes_are_listed_with_cost_and_size(flowsweep_home):
    recipes = {row["recipe"]: row for row in from_json("list", "--recipes")}
    assert recipes == {row["recipe"]: row for row in from_json("make", "--list")}
    assert recipes["pointmaze-umaze"]["dataset"] == "flowsweep/pointmaze-umaze-v0"
    assert recipes["cube-single-play"]["cpu_s"] > 10 * recipes["pointmaze-umaze"]["cpu_s"]
    assert "pointmaze-large-detour" in run("list", "--recipes").stdout


def test_a_dataset_is_listed_and_shown(umaze_dataset):
    listed = {row["id"]: row for row in from_json("list")}
    assert (listed[umaze_dataset]["steps"], listed[umaze_dataset]["recipe"]) == (20_000, "pointmaze-umaze")
    shown = from_json("show", umaze_dataset, "--verify")
    assert shown["transitions"] == 20_000
    assert shown["evaluation"]["id"] == "PointMaze_UMaze-v3"
    assert "PointMaze_UMaze-v3, 300 steps" in run("show", umaze_dataset).stdout


def test_a_dataset_is_shown_with_the_radius_it_suggests(umaze_dataset):
    found = from_json("show", umaze_dataset)["action_variance"]
    assert found["mean"] == pytest.approx(sum(found["per_dimension"]) / 2)
    shown = run("show", umaze_dataset).stdout
    assert f"{found['mean']:.3g} ±" in shown
    assert f"{0.1 * found['mean']:.2g} (fine manipulation) to {found['mean']:.2g} (navigation)" in shown


def test_the_variance_can_be_left_out(umaze_dataset):
    assert "action_variance" not in from_json("show", umaze_dataset, "--no-variance")
    assert "suggests" not in run("show", umaze_dataset, "--no-variance").stdout


def test_a_dataset_too_small_for_it_is_shown_all_the_same(flowsweep_home):
    few = from_json("make", "pointmaze-umaze", "--steps", "200", "--workers", "1")["dataset"]
    assert from_json("show", few)["action_variance"] is None
    assert "it takes 6 episodes" in run("show", few).stdout


def test_making_what_is_there_says_so_at_once(umaze_dataset):
    assert from_json("make", "pointmaze-umaze", "--steps", "20k") == {"dataset": umaze_dataset}
    assert "is ready" in run("make", "pointmaze-umaze", "--steps", "20000").stdout


def test_an_empty_machine_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert "flowsweep data make pointmaze-umaze" in run("list").stdout
    assert from_json("list") == []


def test_a_half_written_dataset_is_not_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    (tmp_path / "broken-v0" / "data").mkdir(parents=True)
    (tmp_path / "broken-v0" / "data" / "metadata.json").write_text("{")
    assert from_json("list") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["make"], "flowsweep data make --list"),
        (["make", "pointmaze-umase"], "Did you mean `pointmaze-umaze`"),
        (["make", "pointmaze-umaze", "--steps", "many"], "Examples: 20000, 20k, 1m"),
        (["make", "pointmaze-umaze", "--steps", "0.0005k"], "whole number"),
        (["make", "pointmaze-umaze", "--steps", "nan"], "whole number"),
        (["show", "../x-v0"], "must be a Minari id"),
        (["show", "flowsweep/pointmaze-large-9k-v0"], "data make pointmaze-large --steps 9000"),
        (["import", "cube-single-play"], "not the name of an OGBench dataset"),
        (["import", "missing.npz"], "not the name of an OGBench dataset"),
    ],
)
def test_mistakes_are_refused_with_the_way_out(flowsweep_home, arguments, message):
    with pytest.raises(UserError, match=message):
        run(*arguments)


@pytest.mark.parametrize("command", ["make", "list", "show", "import"])
def test_every_command_has_help_with_examples(command):
    assert f"flowsweep data {command}" in " ".join(run(command, "--help").stdout.split())
