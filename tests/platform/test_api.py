"""`import flowsweep`: what the command line does, from Python, with data frames."""

from __future__ import annotations

import subprocess
import sys

import flowsweep
import pytest

TRAIN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    steps: int = 10

def train(config: Config, report):
    x = 10.0
    for step in range(config.steps):
        x -= config.lr * x
        report(step, loss=x * x, distance=abs(x))
    return {"x": x, "name": "descent"}
"""


def sweep(**changes):
    return {
        "system": "./train.py:train",
        "space": {"lr": {"low": 0.01, "high": 0.5, "log": True}},
        "objective": {"metric": "loss", "direction": "minimize"},
        "search": {"trials": 3, "seed": 1},
        "seeds": {"test": [5, 6]},
        **changes,
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A sweep run from Python, in a folder of its own."""
    folder = tmp_path_factory.mktemp("api")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    patch.setenv("FLOWSWEEP_HOME", str(folder / "home"))
    patch.chdir(folder)
    (folder / "train.py").write_text(TRAIN)
    yield flowsweep.run(sweep(), progress=False)
    patch.undo()


def test_the_import_is_light_and_its_names_are_there():
    code = (
        "import sys, flowsweep; heavy = {'torch', 'ray', 'pandas', 'optuna', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy; assert set(flowsweep.__all__) <= set(dir(flowsweep));"
        "[getattr(flowsweep, name) for name in flowsweep.__all__];"
        "assert 'torch' not in sys.modules and 'ray' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = flowsweep.rum


def test_every_public_name_says_what_it_is():
    assert not [name for name in flowsweep.__all__ if not (getattr(flowsweep, name).__doc__ or "").strip()]


def test_a_sweep_named_by_its_function_is_run_and_read(done):
    assert (done.name, done.status) == ("train", "finished")
    assert done.best is not None
    assert done.best.confirmed_by == f"confirm-1-{done.best.trial}"
    assert done.best.seeds == (5, 6)
    assert done.best.config["train"]["lr"] == done.best.params["train.lr"]
    board = done.leaderboard()
    assert list(board["phase"]) == ["confirm", "search", "search", "search"]
    assert board["value"].iloc[1:].is_monotonic_increasing
    assert "train.lr" in board


def test_its_tables_are_data_frames_and_its_study_is_optunas(done):
    assert set(done.trials()["status"]) == {"finished"}
    curves = done.curves("train/loss")
    assert set(curves["metric"]) == {"loss"}
    assert len(done.curves("distance")) == len(curves)
    assert len(done.curves()) > len(curves)
    assert [trial.state.name for trial in done.study.trials] == ["COMPLETE"] * 3
    assert done.study.best_value == done.leaderboard()["value"].iloc[1:].min()


def test_what_the_best_has_learnt_is_what_its_function_returned(done):
    (first, second) = done.policy()
    assert first == second
    assert first["name"] == "descent"
    assert first["x"] ** 2 == pytest.approx(done.best.value)


def test_an_export_of_a_function_needs_no_code_to_be_read(done, tmp_path):
    folder = done.export(tmp_path / "out")
    assert flowsweep.load_outputs(folder) == done.policy()
    assert "flowsweep.load_outputs" in (folder / "README.md").read_text()
    with pytest.raises(flowsweep.UserError, match="learns no policy"):
        flowsweep.load_policy(folder, code="./train.py:train")


def test_it_shows_itself_in_a_notebook(done):
    html = done._repr_html_()
    assert "<table" in html
    assert done.best.trial in html
    assert "minimize train/loss" in html
    assert repr(done) == "<Sweep train: finished>"


def test_it_is_found_again_and_not_run_twice_by_chance(done):
    assert flowsweep.load("train").best == done.best
    assert list(flowsweep.sweeps()["name"]) == ["train"]
    with pytest.raises(flowsweep.Refused, match="a sweep of this name exists"):
        flowsweep.run(sweep(), progress=False)
    assert flowsweep.run(sweep(), if_exists="load").name == "train"
    assert done.rerun().verdict == "reproduced"
    with pytest.raises(flowsweep.UserError, match="no sweep of this name"):
        flowsweep.load("other")


def test_a_typed_sweep_is_planned_like_a_mapping(done):
    typed = flowsweep.SweepSpec(
        name="typed",
        system="./train.py:train",
        space={"lr": flowsweep.Real(low=0.01, high=0.5, log=True)},
        objective=flowsweep.Objective(metric="loss", direction="minimize"),
        search=flowsweep.Search(trials=3, seed=1),
        stop=flowsweep.Stop(rule="asha"),
    )
    made = flowsweep.plan(typed, {"search.trials": 5})
    assert made.spec.search.trials == 5
    assert made.rungs == (1, 3, 9)
    same = flowsweep.plan(
        sweep(name="typed", stop={"rule": "asha"}), {"search.trials": 5, "seeds.test": [1000, 1001, 1002]}
    )
    assert same.spec == made.spec


def test_a_finished_sweep_is_taken_further(done):
    further = flowsweep.resume("train", {"search.trials": 4}, progress=False)
    assert len(further.study.trials) == 4
    assert (further.trials()["phase"] == "search").sum() == 4
