"""What a person gets who installs flowsweep: everything it needs, nothing else, under the right names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from flowsweep.cluster.package import pack

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = ("platform", "trainables", "search_spaces", "cluster")
LEFTOVERS = (
    ".git",
    ".venv",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".flowsweep",
    "quickstart",
)


def shell(*command: str | Path, cwd: Path, **options) -> str:
    """What a command prints; the test fails with its complaint when it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def package_files() -> set[str]:
    """Every file of the rooms that belongs to the package, as a wheel names it."""
    rooms = [file for room in ROOMS for file in (ROOT / room).rglob("*") if file.is_file()]
    kept = [file for file in rooms if "__pycache__" not in file.parts]
    return {f"flowsweep/{file.relative_to(ROOT)}" for file in [*ROOT.glob("*.py"), ROOT / "py.typed", *kept]}


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """A copy of the source tree, so that building leaves nothing behind in ours."""
    copy = tmp_path_factory.mktemp("source") / "tree"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFTOVERS))
    return copy


@pytest.fixture(scope="session")
def wheel(tree, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shell(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, tree, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory) -> Path:
    """A fresh environment with the wheel in it; its requirements are those of the one that runs the tests."""
    return environment(tmp_path_factory.mktemp("installed"), wheel)


def environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment in ``folder`` with ``wheel`` unpacked in it; returns its interpreter."""
    shell(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    # A path file adds the other environment behind this one, without the path files in there.
    (packages / "requirements.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    return folder / "bin" / "python"


def test_the_package_list_is_the_tree():
    folders = {
        file.parent for room in ROOMS for file in (ROOT / room).rglob("*") if file.suffix in {".py", ".yaml"}
    }
    found = {".".join(("flowsweep", *folder.relative_to(ROOT).parts)) for folder in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == {"flowsweep"} | found


def test_every_constraint_is_one_exact_version():
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(line.count("==") == 1 for line in lines)
    named = {line.partition("==")[0].lower() for line in lines}
    assert len(named) == len(lines)
    assert {"ray", "torch", "optuna", "mlflow"} <= named


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == package_files()


def test_the_wheel_says_what_it_requires_and_registers(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        facts = Parser().parsestr(archive.read(metadata).decode())
        points = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    assert facts["Version"] == PROJECT["project"]["version"]
    plain = [text for text in facts.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert len(plain) == len(PROJECT["project"]["dependencies"])
    for name, target in PROJECT["project"]["entry-points"]["flowsweep.systems"].items():
        assert f"{name} = {target}" in points


def test_what_goes_to_a_cluster_is_what_the_wheel_holds(wheel, tmp_path):
    package, _ = pack(tmp_path)
    sent = {str(file.relative_to(tmp_path)) for file in package.rglob("*") if file.is_file()}
    assert sent == {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_the_installed_package_works_from_anywhere(installed, tmp_path):
    code = (
        "import flowsweep, flowsweep.platform.sweep.spec as spec, platform;"
        "from flowsweep.trainables.base import load_system;"
        "print(flowsweep.__file__, platform.system(), *spec.shipped_sweeps());"
        f"[load_system(name) for name in {list(PROJECT['project']['entry-points']['flowsweep.systems'])}]"
    )
    file, system, *sweeps = shell(installed, "-c", code, cwd=tmp_path).split()
    assert Path(file).is_relative_to(installed.parents[1]), "another installation was imported"
    assert system in {"Linux", "Darwin"}
    assert set(sweeps) == {path.stem for path in (ROOT / "search_spaces" / "sweeps").glob("*.yaml")}
    assert sweeps


def test_the_installed_command_line_runs(installed, tmp_path):
    said = shell(installed, "-m", "flowsweep.platform.cli", "--help", cwd=tmp_path)
    assert all(command in said for command in ("plan", "run", "submit", "quickstart"))


def test_the_script_of_this_environment_runs(tmp_path):
    script = Path(sys.executable).with_name("flowsweep")
    assert shell(script, "--version", cwd=tmp_path).strip() == PROJECT["project"]["version"]


def test_an_editable_install_imports_the_source_tree(tree, tmp_path):
    code = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"
    shell(sys.executable, "-c", code, tmp_path, cwd=tree)
    (wheel,) = tmp_path.glob("*.whl")
    (tmp_path / "env").mkdir()
    python = environment(tmp_path / "env", wheel)
    code = "import flowsweep.platform.paths as p, flowsweep.cluster.jobs as c; print(p.__file__, c.__file__)"
    paths, jobs = shell(python, "-c", code, cwd=tmp_path).split()
    assert Path(paths).samefile(tree / "platform" / "paths.py")
    assert Path(jobs).samefile(tree / "cluster" / "jobs.py")


def test_the_tests_are_found_from_the_root():
    said = shell(sys.executable, "-m", "pytest", "--collect-only", "-qq", "tests/test_rooms.py", cwd=ROOT)
    assert "tests/test_rooms.py" in said


def test_the_root_does_not_hide_pythons_own_modules():
    code = "import platform; print(platform.system(), platform.python_version())"
    assert shell(sys.executable, "-c", code, cwd=ROOT).split()[0] in {"Linux", "Darwin"}
