"""Files beside the sweep that are named like packages: nobody imports them, and where somebody would, they are named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from flowsweep.platform.cli.shadows import NEEDED, shadows
from flowsweep.platform.sweep.yaml_file import dump_yaml

FLOWSWEEP = [sys.executable, "-m", "flowsweep.platform.cli"]


@pytest.fixture
def plan(tmp_path: Path, toy_system, toy_sweep_values):
    """`flowsweep plan` of a toy sweep from a folder of its own; options for Python come first."""
    (tmp_path / "toy.yaml").write_text(dump_yaml(toy_sweep_values))

    def call(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *options, "-m", "flowsweep.platform.cli", "plan", "toy.yaml"], cwd=tmp_path,
            env={**os.environ, "FLOWSWEEP_HOME": str(tmp_path / "home"), **variables}, capture_output=True, text=True,
            timeout=100,
        )  # fmt: skip

    return call


def test_the_command_does_not_look_beside_the_sweep(plan, tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('mine')")
    (tmp_path / "flowsweep").mkdir()  # `cluster init` once wrote a folder of that name
    done = plan("-P")
    assert done.returncode == 0, done.stderr


def test_where_a_shadow_is_possible_it_is_named_before_anything_else(plan, tmp_path):
    (tmp_path / "mlflow.py").write_text("raise SystemExit('mine')")
    done = plan()
    assert done.returncode == 2
    assert f"{tmp_path / 'mlflow.py'}: hides the package mlflow, which flowsweep needs" in done.stderr
    assert "Rename it" in done.stderr


def test_pythonpath_is_looked_through_too(plan, tmp_path):
    (other := tmp_path / "other").mkdir()
    (other / "torch.py").touch()
    done = plan("-P", PYTHONPATH=f"{other}:{os.environ['PYTHONPATH']}")
    assert (done.returncode, "hides the package torch" in done.stderr) == (2, True)


def test_a_package_installed_into_a_folder_of_its_own_hides_nothing(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    assert [name for name, _ in shadows([tmp_path])] == ["torch"]
    (tmp_path / "torch-2.6.0.dist-info").mkdir()
    assert not list(shadows([tmp_path]))


def test_modules_of_plugins_are_looked_for_as_well(tmp_path):
    (tmp_path / "my_system.py").touch()
    assert list(shadows([tmp_path], ["my_system"])) == [("my_system", tmp_path / "my_system.py")]


def test_every_requirement_that_is_imported_is_known():
    assert {"torch", "mlflow", "ray", "optuna", "flowsweep"} <= set(NEEDED)
