"""A user's own package, in any layout, is found with its systems once it is laid out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from flowsweep.cluster.plugins import importable, lay_out
from flowsweep.platform.errors import UserError

PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "walker-plugin"
version = "1.0"
dependencies = ["numpy>=1.26"]
[project.entry-points."flowsweep.systems"]
walker = "walker:SYSTEM"
"""


@pytest.fixture
def project(tmp_path) -> Path:
    """A project in the src layout, with what a user's folder has lying about."""
    root = tmp_path / "project"
    (root / "src" / "walker").mkdir(parents=True)
    (root / "src" / "walker" / "__init__.py").write_text("SYSTEM = 'a walker'\n")
    (root / "src" / "walker" / "build").mkdir()
    (root / "src" / "walker" / "build" / "__init__.py").write_text("")
    (root / ".git").mkdir()
    (root / "pyproject.toml").write_text(PROJECT)
    return root


def registered() -> dict[str, object]:
    return {point.name: point.load() for point in entry_points(group="flowsweep.systems", name="walker")}


def test_a_project_is_built_without_leaving_anything_in_its_folder(project, tmp_path, monkeypatch):
    before = sorted(project.rglob("*"))
    found = lay_out(str(project), tmp_path / "out")
    assert sorted(project.rglob("*")) == before
    assert (found.name, found.systems) == ("walker-plugin", ("walker",))
    assert [part.name for part in found.parts] == ["walker", "walker_plugin-1.0.dist-info"]
    assert (tmp_path / "out" / "walker" / "build" / "__init__.py").exists(), "a subpackage is no leftover"
    with importable([tmp_path / "out"]):
        assert registered() == {"walker": "a walker"}
    sys.modules.pop("walker")
    assert not entry_points(group="flowsweep.systems", name="walker")


def test_links_that_lead_nowhere_stay_behind_and_what_cannot_be_copied_is_named(project, tmp_path):
    package = project / "src" / "walker"
    (package / "data").symlink_to("/nowhere/at/all")
    found = lay_out(str(package), tmp_path / "out")
    assert not (found.parts[0] / "data").exists()
    os.mkfifo(package / "pipe")
    with pytest.raises(UserError, match=r"--package: cannot be copied: .*pipe.*named pipe"):
        lay_out(str(package), tmp_path / "again")


def test_a_wheel_goes_as_it_is_and_cannot_leave_the_folder(project, tmp_path):
    lay_out(str(project), tmp_path / "built")
    (wheel,) = (tmp_path / "built-build" / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel, "a") as packed:
        packed.writestr("../../outside.py", "")
        packed.writestr("/tmp/flowsweep-outside.py", "")
    found = lay_out(str(wheel), tmp_path / "out")
    assert found.systems == ("walker",)
    assert not (tmp_path.parent / "outside.py").exists()
    assert not Path("/tmp/flowsweep-outside.py").exists()


def test_a_packages_folder_brings_the_metadata_it_is_installed_with(project, tmp_path, monkeypatch):
    site = tmp_path / "site"
    lay_out(str(project), site)
    monkeypatch.syspath_prepend(str(site))
    found = lay_out(str(site / "walker"), tmp_path / "out")
    assert (found.name, found.systems) == ("walker-plugin", ("walker",))
    shutil.rmtree(site / "walker_plugin-1.0.dist-info")
    alone = lay_out(str(site / "walker"), tmp_path / "alone")
    assert (alone.name, alone.systems) == ("walker", ())


def test_what_is_no_package_or_cannot_be_built_is_said(project, tmp_path):
    with pytest.raises(UserError, match=r"neither a project nor a package.*pyproject\.toml"):
        lay_out(str(tmp_path), tmp_path / "out")
    (project / "pyproject.toml").write_text(PROJECT.replace('version = "1.0"', 'version = "one"'))
    with pytest.raises(UserError, match=r"cannot be built: .*version"):
        lay_out(str(project), tmp_path / "out2")
    backend = PROJECT.replace('["setuptools"]', '["no-such-backend"]')
    (project / "pyproject.toml").write_text(backend)
    with pytest.raises(UserError, match="pip install 'no-such-backend'"):
        lay_out(str(project), tmp_path / "out3")


def test_an_older_python_on_the_node_is_told_from_a_traceback(tmp_path):
    from flowsweep.cluster.package import pack

    folders = ":".join(str(folder.parent) for folder in pack(tmp_path))
    program = (
        "import sys, runpy; sys.version_info = (3, 9, 18);"
        "sys.argv = ['entry', 'take-up', 'sweep.yaml'];"
        "runpy.run_module('flowsweep.cluster.entry', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": folders},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "is Python 3.9.18, flowsweep needs 3.11" in done.stderr) == (3, True), (
        done.stderr
    )
