"""A sweep over a file of the user's own, from the command line to the record: run, shown, rerun, changed, moved."""

from __future__ import annotations

import json
import textwrap

import pytest
from flowsweep.platform.errors import UserError, UserErrors
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.platform.sweep.spec import load_spec

TRAIN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    width: int = 4
    steps: int = 30

def train(config: Config, report):
    x = 10.0
    for step in range(config.steps):
        x -= config.lr * x
        report(step, loss=x * x)
"""
SWEEP = """
system: ./train.py:train
config: {width: 8}
space:
  lr: {low: 1e-3, high: 0.5, log: true}
objective: {metric: loss, direction: minimize}
search: {trials: 3, fixed: [{lr: 0.25}]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "descent.yaml").write_text(SWEEP)
    return tmp_path


def test_names_without_a_stage_are_made_full_and_what_is_left_out_has_a_default(folder):
    spec = resolve(load_spec(folder / "descent.yaml")).spec
    assert spec.name == "descent"
    assert spec.stages == {"train": {"width": 8}}
    assert spec.config == {}
    assert list(spec.space) == ["train.lr"]
    assert spec.objective.metric == "train/loss"
    assert spec.search.fixed == ({"train.lr": 0.25},)
    assert spec.evaluation.every_steps == 1
    assert spec.stop.min_steps == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dataset: a/b-v0", "brings what it learns from"),
        ("environment: x", "brings what it learns from"),
        ("preset: other", "unknown preset"),
    ],
)
def test_keys_that_mean_nothing_to_a_function_are_refused(folder, line, said):
    with (folder / "descent.yaml").open("a") as file:
        file.write(line + "\n")
    with pytest.raises((UserError, UserErrors), match=said):
        resolve(load_spec(folder / "descent.yaml"))


def test_settings_without_a_stage_need_a_system_of_one_stage(toy_sweep):
    with pytest.raises(UserError, match=r"config: `toy` has several stages.*stages: \{tune"):
        resolve(toy_sweep(config={"rate": 0.1}))


def test_a_function_is_searched_rerun_and_extended_and_its_record_runs_no_code(folder, run):
    code, out, err = run("run", str(folder / "descent.yaml"), "--quiet")
    assert code == 0, err
    assert "descent  finished  train.py:train" in out
    root = folder / "home" / "sweeps" / "descent"
    assert (root / "code" / "train.py").read_text() == TRAIN
    journal = (root / "journal.jsonl").read_text()
    assert "train.py" in journal
    assert str(folder / "train.py") not in journal, "a record must not say which file to run"
    code, out, _ = run("rerun", "descent", "--json")
    assert (code, json.loads(out)["verdict"]) == (0, "reproduced")

    (folder / "train.py").write_text(TRAIN.replace("x * x", "abs(x)"))
    for command in ("rerun", "resume"):
        code, _, err = run(command, "descent")
        assert code == 3
        assert "code of train.py" in err
    code, out, _ = run("rerun", "descent", "--json", "--anyway")
    assert code == 5
    assert any("train.py" in text for text in json.loads(out)["changes"])

    (folder / "elsewhere").mkdir()
    (folder / "train.py").rename(folder / "elsewhere" / "train.py")
    code, _, err = run("resume", "descent")
    assert code == 2
    assert "there is no such file" in err
    (folder / "config" / "flowsweep" / "code.json").unlink()  # as on another machine
    code, _, err = run("extend", "descent", "--trials", "4")
    assert code == 2
    assert "records name no code" in err
    (folder / "elsewhere" / "train.py").write_text(textwrap.dedent(TRAIN) + "\n# only a comment more\n")
    code, out, err = run(
        "extend", "descent", "--trials", "4", "--quiet", "--code", str(folder / "elsewhere" / "train.py")
    )
    assert code == 0, err
    (folder / "elsewhere" / "train.py").unlink()
    assert run("show", "descent")[0] == 0


def test_a_record_cannot_make_a_rerun_run_a_file(folder, run):
    """A home from somebody else: its sweep file and journal name a file that lies right there."""
    root = folder / "home" / "sweeps" / "planted"
    root.mkdir(parents=True)
    mark = folder / "ran"
    (root / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n{TRAIN}")
    (root / "sweep.yaml").write_text(SWEEP.replace("./train.py", f"{root}/evil.py"))
    (root / "journal.jsonl").write_text("")
    for command in (
        ("rerun", "planted"),
        ("resume", "planted"),
        ("retry", "planted", "--failed"),
    ):
        run(*command)
        assert not mark.exists(), command
