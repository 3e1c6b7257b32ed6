"""The command line as a user meets it: help everywhere, plain messages, exit codes that mean something."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from flowsweep.platform import cli
from flowsweep.platform.sweep.spec import load_spec, shipped_sweeps
from flowsweep.platform.sweep.yaml_file import dump_yaml
from typer.main import get_command
from typer.testing import CliRunner


def commands(command=None, path=()) -> list[tuple[str, ...]]:
    command = command or get_command(cli.app)
    found = [path] if path else []
    for name, child in getattr(command, "commands", {}).items():
        found += commands(child, (*path, name))
    return found


@pytest.fixture
def sweep(toy_system, toy_sweep_values, tmp_path: Path):
    def write(**changes) -> str:
        path = tmp_path / "sweep.yaml"
        path.write_text(dump_yaml({**toy_sweep_values, **changes}))
        return str(path)

    return write


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_explains_itself(path):
    shown = CliRunner().invoke(cli.app, [*path, "--help"])
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) > 5


def test_the_version_is_printed(run):
    from flowsweep import __version__

    assert run("--version")[:2] == (0, f"{__version__}\n")


def test_a_plan_can_be_read_by_a_script(run, sweep):
    code, out, _ = run("plan", sweep(), "--json", "--set", "search.trials=9")
    assert (code, json.loads(out)["trials"]) == (0, 9)


def test_a_mistake_ends_with_a_message_and_exit_code_2(run, sweep):
    file = sweep(serch={})
    code, _, err = run("plan", file)
    assert code == 2
    assert err == f"Error: {file}:27:1: serch: unknown key. Did you mean `search`?\n"


def tree(*folders: Path) -> dict[str, tuple[int, float]]:
    """Every file and folder with its size and time of change."""
    found = {}
    for path in sorted(path for folder in folders for path in (folder, *folder.rglob("*"))):
        if path.exists():
            found[str(path)] = (path.stat().st_size, path.stat().st_mtime)
    return found


@pytest.mark.parametrize("name", sorted(shipped_sweeps()))
def test_a_plan_writes_nothing(run, umaze_dataset, name, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learns = load_spec(name).source
    given = ("--set", f"dataset={umaze_dataset}") if learns.name.startswith("flowsweep/") else ()
    (tmp_path / "shared").mkdir()
    assert run("plan", name, *given)[0] == 0  # a dataset seen for the first time is laid flat, once
    before = tree(tmp_path)
    for changes in (
        {},
        {"tracking.uri": f"sqlite:///{tmp_path}/tracker/deep/mlflow.db"},
        {"storage.stages": f"{tmp_path}/shared/stages"},
        {"storage.stages": f"file://{tmp_path}/other"},
        {"search.storage": "journal"},
        {"search.trials": "0"},
    ):
        settings = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
        assert run("plan", name, *given, *settings)[0] == (2 if "search.trials" in changes else 0), changes
        assert tree(tmp_path) == before, changes


def test_a_field_of_a_stage_is_told_with_its_whole_key(run, sweep):
    code, _, err = run("plan", sweep(), "--set", "tune.steps=3")
    assert (code, "Did you mean `stages.tune.steps`?" in err) == (2, True)
    code, _, err = run("plan", sweep(), "--set", "trials=3")
    assert (code, "Did you mean `search.trials`?" in err) == (2, True)


def test_a_mistake_of_the_command_line_has_no_place_in_the_file(run, sweep):
    code, _, err = run("plan", sweep(), "--set", "search.trials=0")
    assert (code, err.splitlines()[0][:22]) == (2, "Error: search.trials: ")


def test_a_name_is_text_whatever_it_looks_like(run, sweep):
    for name in ("20240101", "1e3", "null", "010", "yes"):
        assert json.loads(run("plan", sweep(), "--name", name, "--json")[1])["name"] == name


def test_nothing_that_is_shown_is_markup():
    root = Path(cli.__file__).parents[2]
    sources = [path for room in ("platform", "cluster") for path in (root / room).rglob("*.py")]
    made = [call for path in sources for call in re.findall(r"Console\(.*\)", path.read_text())]
    assert made
    assert all("markup=False" in call and "emoji=False" in call for call in made)
    marked = re.compile(r"markup=True|from_markup|\[(bold|dim|red|green|yellow)[ a-z]*\]")
    assert not [path.name for path in sources if marked.search(path.read_text())]


def test_text_of_the_user_is_shown_as_it_is(run, sweep):
    space = {"tune.rate": {"low": 0.1, "high": 0.2, "reason": "[/bold]x :smile: [red]y"}}
    code, out, _ = run("plan", sweep(space=space))
    assert code == 0
    assert "[/bold]x :smile: [red]y" in out


def test_a_setting_without_a_value_is_explained(run, sweep):
    code, _, err = run("plan", sweep(), "--set", "search.trials")
    assert (code, "must look like key=value" in err) == (2, True)


def test_a_hostile_name_never_becomes_a_path(run, sweep, tmp_path: Path):
    for arguments in (
        ("plan", sweep(), "--name", "../../x"),
        ("show", "../../etc"),
        ("rerun", "a/b"),
        ("resume", ".."),
    ):
        code, _, err = run(*arguments)
        assert code == 2, arguments
        assert "name" in err
    assert not (tmp_path / "home").exists()


def test_a_place_that_cannot_be_used_is_told_with_its_path(run, sweep, tmp_path: Path, monkeypatch):
    (tmp_path / "file").touch()
    file = sweep()
    assert run("list")[0] == 0
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "file" / "home"))
    for command in (("run", file, "--quiet"), ("stages",)):
        code, _, err = run(*command)
        assert "Traceback" not in err
        if code:
            assert (code, f"{tmp_path}/file" in err) == (2, True)


def test_reading_records_where_there_are_none_starts_nothing(run, tmp_path: Path):
    assert run("list")[:2] == (0, "No sweeps yet. Try: flowsweep quickstart\n")
    assert json.loads(run("list", "--json")[1]) == []
    code, _, err = run("show", "nothing")
    assert (code, "flowsweep quickstart" in err) == (2, True)
    assert not (tmp_path / "home").exists()
