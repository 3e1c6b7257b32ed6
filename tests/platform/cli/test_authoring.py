"""`new` writes what `check` finds nothing wrong with."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.mark.parametrize(("option", "attribute"), [((), "SYSTEM"), (("--function",), "train")])
def test_what_new_writes_keeps_every_promise_and_can_be_planned(here, run, option, attribute):
    code, out, err = run("new", "my-method", *option)
    assert code == 0, err
    assert f"flowsweep check my-method/my_method.py:{attribute}" in out
    code, out, _ = run("check", f"my-method/my_method.py:{attribute}", "--json")
    said = json.loads(out)
    assert (code, [one["why"] for one in said["promises"] if not one["kept"]]) == (0, [])
    assert len(said["promises"]) == 11
    code, out, err = run("plan", "my-method/my_method.yaml")
    assert code == 0, err
    assert "my_method.py" in out
    code, _, err = run("new", "my-method", *option)
    assert (code, "is there already" in err) == (2, True)


def test_the_test_that_new_writes_runs(here, run):
    assert run("new", "other")[0] == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "other"], cwd=here, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "11 passed" in done.stdout


def test_a_broken_promise_is_told_and_ends_with_1(here, run):
    assert run("new", "mine")[0] == 0
    file = here / "mine" / "mine.py"
    file.write_text(file.read_text().replace(', "speed": self.speed.clone()', '').replace(
        'self.line, self.speed = snapshot.tensors["line"].clone(), snapshot.tensors["speed"].clone()',
        'self.line = snapshot.tensors["line"].clone()'))  # fmt: skip
    code, out, _ = run("check", "mine/mine.py:SYSTEM")
    assert code == 1
    assert "broken  fit: resumes bit equal" in out
    assert "of an optimiser, a random stream, a target or a counter something is not in `state()`" in out
    assert "10 of 11 promises kept." in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "nope.py:x"), "there is no such file"),
        (("check", "rehearsal", "--set", "rate=1"), "names no stage"),
        (("new", "1x"), "cannot be the name of a module"),
    ],
)
def test_mistakes_are_told(here, run, arguments, said):
    code, _, err = run(*arguments)
    assert (code, said in err) == (2, True), err
