"""A sweep of a package of one's own, submitted, watched from afar, stopped, and gone on with; and by a client without torch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flowsweep.platform.journal.journal import read

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parents[1] / "support" / "toy"
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "walker-plugin"
version = "1.0"
[project.entry-points."flowsweep.systems"]
walker = "walker:SYSTEM"
[project.entry-points."flowsweep.spaces"]
walker = "walker:SPACES"
[tool.setuptools]
py-modules = ["walker"]
"""
SWEEP = """\
name: walk
system: walker
dataset: toy/points
stages: {tune: {pause_s: 0.05}}
objective: {metric: tune/return}
search: {trials: 2}
seeds: {tune: [0], test: [10]}
evaluation: {episodes: 2, every_steps: 10}
confirm: {top: 0}
"""
WITHOUT = """\
import sys
MISSING = {"torch", "mlflow", "minari", "gymnasium", "gymnasium_robotics", "mujoco", "ogbench", "matplotlib", "imageio"}
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from flowsweep.platform.cli import main
main()
"""


class Client:
    """A person at another machine: a folder, a profile, a token, and what is installed there."""

    def __init__(self, root: Path, head, there: Path):
        self.root, self.python = root, sys.executable
        config = root / "config" / "flowsweep"
        config.mkdir(parents=True)
        (root / "token").write_text(head.token)
        (root / "token").chmod(0o600)
        (config / "clusters.toml").write_text(
            f'default = "lab"\n[clusters.lab]\naddress = "{head.url}"\nhome = "{there}"\n'
            f'token_file = "{root / "token"}"\npython = "{sys.executable}"\npackages = ["{root / "project"}"]\n'
        )
        project = root / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(PROJECT)
        (project / "walker.py").write_text(
            (TOY / "toy_system.py").read_text().replace('name="toy"', 'name="walker"')
        )
        (root / "walk.yaml").write_text(SWEEP)
        keep = ("PATH", "VIRTUAL_ENV", "LANG")
        self.environment = {
            **{name: os.environ[name] for name in keep if name in os.environ},
            "HOME": str(root), "XDG_CONFIG_HOME": str(root / "config"), "COLUMNS": "200",
        }  # fmt: skip

    def start(self, *arguments: str, program: str | None = None) -> subprocess.Popen[str]:
        command = ["-c", program] if program else ["-m", "flowsweep.platform.cli"]
        return subprocess.Popen(
            [self.python, *command, *arguments], cwd=self.root, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            # A shell's background jobs ignore interrupts, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def run(self, *arguments: str, code: int | None = 0, program: str | None = None) -> str:
        process = self.start(*arguments, program=program)
        said, _ = process.communicate(timeout=600)
        assert code is None or process.returncode == code, said
        return said


@pytest.fixture
def client(head, tmp_path) -> Client:
    return Client(tmp_path, head, tmp_path / "there")


def elsewhere(client: Client, sweep: str = "walk") -> None:
    """The home's path exists here too, but is another folder: what is in it belongs to another job."""
    note = client.root / "there" / "sweeps" / sweep / "job"
    _wait(note.exists)
    note.write_text("another")


def test_a_sweep_of_ones_own_package_is_watched_from_afar_stopped_and_gone_on_with(client):
    journal = client.root / "there" / "sweeps" / "walk" / "journal.jsonl"
    (client.root / "walk.yaml").write_text(SWEEP.replace("pause_s: 0.05", "pause_s: 0.5, steps: 150"))
    assert "which registers walker" in client.run("submit", "walk.yaml", "--wait", "300")
    _wait(lambda: journal.exists() and any(fact.event.kind == "evaluated" for fact in read(journal)))
    elsewhere(client)
    watcher = client.start("attach", "walk")
    for line in watcher.stdout:
        if "tune step" in line:
            break
    watcher.send_signal(signal.SIGINT)
    said, _ = watcher.communicate(timeout=60)
    assert (watcher.returncode, "walk goes on without you" in said) == (0, True), said
    assert "Traceback" not in said
    assert json.loads(client.run("status", "walk", "--json"))["status"] == "running"
    assert "is already running there" in client.run("submit", "walk.yaml", code=3)

    assert "stopping" in client.run("stop", "walk")
    _wait(lambda: json.loads(client.run("status", "walk", "--json"))["status"] == "stopped")
    facts = list(read(journal))
    left = {
        fact.trial for fact in facts if fact.event.kind == "trial_ended" and fact.event.status == "cancelled"
    }
    assert left, "trials were killed instead of storing their state"
    (listed,) = json.loads(client.run("list", "--cluster", "lab", "--json"))
    assert (listed["name"], listed["status"]) == ("walk", "interrupted")

    client.run("submit", "walk.yaml", "--wait", "300")
    elsewhere(client)
    said = client.run("attach", "walk", "--json")
    kinds = [json.loads(line)["event"]["kind"] for line in said.splitlines()]
    assert kinds[-1] == "sweep_ended"
    facts = list(read(journal))
    assert left <= {fact.trial for fact in facts if fact.event.kind == "continued"}
    ends = [fact.event.status for fact in facts if fact.event.kind == "trial_ended"]
    assert ends.count("finished") == 2


def test_without_torch_and_everything_that_trains_a_sweep_is_planned_submitted_and_watched(client):
    fidec = client.root / "fidec.yaml"
    fidec.write_text(SWEEP.replace("walker", "fidec").replace("toy/points", "D4RL/pointmaze/umaze-v2"))
    said = client.run("submit", "fidec.yaml", program=WITHOUT, code=2)
    assert "torch" not in said, "a system that needs no torch to be described is checked in full"
    assert "tune" in said
    said = client.run("submit", "walk.yaml", "--name", "light", "--wait", "300", program=WITHOUT)
    assert "Not checked here: system: its code needs torch" in said
    assert "attach light" in said
    elsewhere(client, "light")
    said = client.run("attach", "light", program=WITHOUT)
    assert "light  2/2 trials" in said or "[2/2]" in said
    assert "Traceback" not in said


def test_a_machine_with_the_client_requirements_alone_submits_and_watches(client):
    """The real thing, where packages can be had: an empty environment, the wheel, and the group `client`."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("making the environment needs uv")
    python = client.root / "venv" / "bin" / "python"
    wheel, tree = client.root / "wheel", client.root / "tree"
    left_out = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", "tests")
    shutil.copytree(ROOT, tree, ignore=left_out)
    subprocess.run([sys.executable, "-m", "build", "-w", "-n", "-o", wheel, tree], check=True)
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, python.parents[1]], check=True)
    install = [uv, "pip", "install", "-q", "--python", python]
    got = subprocess.run(
        [*install, "--group", f"{tree / 'pyproject.toml'}:client"],
        env={**os.environ, "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if got.returncode:
        pytest.skip(f"packages cannot be had here: {got.stderr[-200:]}")
    subprocess.run([*install, "--no-deps", *wheel.glob("*.whl")], check=True)
    client.python = str(python)
    assert "No module named 'torch'" in client.run(program="import torch", code=1)
    assert "was submitted" in client.run("submit", "walk.yaml", "--name", "clean", "--wait", "300")
    elsewhere(client, "clean")
    said = client.run("attach", "clean")
    assert "clean  2/2 trials" in said or "[2/2]" in said
    assert '"finished"' in client.run("list", "--cluster", "lab", "--json")


def _wait(done, timeout_s: float = 300) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.5)
