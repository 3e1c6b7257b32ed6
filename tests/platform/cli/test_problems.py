"""`flowsweep problems`, and what a sweep on a problem is refused for before anything is spent."""

from __future__ import annotations

import json

import pytest
import yaml
from flowsweep.platform import cli


@pytest.fixture
def said(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["flowsweep", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out + captured.err

    return run


def sweep(tmp_path, **changes) -> str:
    written = {
        "name": "s",
        "system": "rdps",
        "problem": "mixture-cs",
        "space": {"posterior.threshold": {"low": 0.5, "high": 20.0, "log": True}},
        "objective": {"metric": "posterior/psnr", "direction": "maximize"},
        "search": {"trials": 2},
        "seeds": {"tune": [0], "test": [100]},
    } | changes
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(written))
    return str(path)


def test_every_problem_is_listed_with_its_system(said):
    code, text = said("problems", "list", "--json")
    listed = {row["name"]: row["system"] for row in json.loads(text)}
    assert code == 0
    assert {"mixture-cs", "digits-scatter", "darcy-1d"} <= set(listed)
    assert set(listed.values()) == {"rdps"}


def test_a_problem_is_shown_and_drawn(said, tmp_path):
    code, text = said("problems", "show", "mixture-inpaint", "--json", "--out", "seen.png", "--share", "0.25")
    facts = json.loads(text)
    assert code == 0
    assert (facts["unknowns"], facts["observations"], facts["exact_posterior"]) == (16, 12, True)
    assert (tmp_path / "seen.png").stat().st_size > 10_000
    code, text = said("problems", "show", "darcy-1d")
    assert "nonlinear, derivative checked" in text
    assert (tmp_path / "darcy-1d.png").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("problems", "show", "mixture-c"), "mixture-cs"),
        (("problems", "show", "mixture-cs", "--share", "1"), "below 1"),
        (("problems", "show", "mixture-cs", "--share", "-0.1"), "at least 0"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_way_out(said, arguments, expected):
    code, text = said(*arguments)
    assert code == 2
    assert expected in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"problem": "mixture-xs"}, ["problem", "mixture-xs", "mixture-cs"]),
        ({"stages": {"posterior": {"threshold": 0.0}}}, ["posterior.threshold", "greater than 0"]),
        ({"stages": {"posterior": {"outlier_share": 1.0}}}, ["posterior.outlier_share", "less than 1"]),
        ({"stages": {"posterior": {"steps": 1001}}}, ["posterior.steps", "1001", "at most 1000"]),
        (
            {"space": {"posterior.threshold": {"low": 0.0, "high": 2.0}}},
            ["posterior.threshold", "greater than 0"],
        ),
        ({"problem": None, "dataset": "mixture-cs"}, ["problem: mixture-cs"]),
        (
            {"objective": {"metric": "posterior/psnr_dirty", "direction": "maximize"}},
            ["posterior/psnr_dirty", "Did you mean"],
        ),
    ],
)
def test_plan_finds_bad_input_and_names_key_and_way_out(said, tmp_path, changes, expected):
    code, text = said("plan", sweep(tmp_path, **changes))
    assert code == 2, text
    flat = " ".join(text.split())
    assert all(words in flat for words in expected), flat


def test_the_shipped_sweeps_can_be_planned_without_a_warning(said):
    for name in ("mixture-robust", "digits-robust", "darcy-robust"):
        code, text = said("plan", name, "--json")
        assert code == 0, text
        assert json.loads(text)["warnings"] == [], name


def test_the_plan_counts_one_prior_for_all_seeds_and_phases(said):
    code, text = said("plan", "digits-robust", "--json", "--set", "seeds.tune=[0,1,2]")
    rows = {(row["phase"], row["stage"]): row for row in json.loads(text)["stages"]}
    assert code == 0
    assert (rows["search", "prior"]["needed"], rows["search", "prior"]["computed"]) == (72, 1)
    assert rows["confirm", "prior"]["computed"] == 0
    assert rows["confirm", "posterior"]["computed"] == 6
