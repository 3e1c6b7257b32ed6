"""`flowsweep cluster init` as a person types it: all files or none, and never over something else."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from flowsweep.platform.cli import main

SLURM = ("--kind", "slurm", "--set", "activate=source ~/env/bin/activate")


@pytest.fixture
def init(monkeypatch, capfd, tmp_path):
    """Runs the command in an empty folder; its exit code, what it printed, and what it complained of."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flowsweep", "cluster", "init", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return run


def test_it_lists_what_it_wrote_for_a_script(init):
    code, out, _ = init(*SLURM, "--into", "lab", "--json")
    assert code == 0
    written = json.loads(out)["written"]
    assert sorted(written) == sorted(str(p) for p in Path("lab").rglob("*") if p.is_file())
    assert os.access("lab/sweep.sbatch", os.X_OK)


def test_without_a_folder_it_takes_one_named_after_the_cluster_that_no_module_can_have(init):
    assert init(*SLURM, "--set", "name=gauss")[0] == 0
    assert Path("gauss-cluster/README.md").exists()


def test_edited_files_are_not_written_over_and_nothing_else_is_written_then(init):
    init(*SLURM, "--into", "lab")
    script = Path("lab/sweep.sbatch")
    script.write_text(script.read_text() + "# mine\n")
    Path("lab/requirements.txt").unlink()
    code, _, complaint = init(*SLURM, "--into", "lab")
    assert code == 3
    assert "sweep.sbatch" in complaint
    assert "--force" in complaint
    assert not Path("lab/requirements.txt").exists()
    assert init(*SLURM, "--into", "lab", "--force")[0] == 0
    assert "# mine" not in script.read_text()


def test_the_same_again_is_no_conflict(init):
    init(*SLURM, "--into", "lab")
    assert init("--config", "lab/cluster.yaml", "--into", "lab")[0] == 0


def test_edited_files_can_be_checked(init):
    aws = (
        "--kind",
        "aws",
        "--set",
        "image=x:1",
        "--set",
        "machine=m7i.large",
        "--set",
        "aws.image_id=ami-01",
    )
    assert init(*aws, "--into", "lab")[0] == 0
    assert init("--check", "lab")[0] == 0
    cluster = Path("lab/ray-cluster.yaml")
    cluster.write_text(cluster.read_text() + "workers: 4\n")
    Path("lab/tracker/entry.sh").write_text("if then\n")
    code, _, complaint = init("--check", "lab")
    assert code == 2
    assert "Ray refuses it" in complaint
    assert "bash cannot read it" in complaint


def test_an_emptied_cluster_file_is_a_mistake_as_any_other(init):
    init(*SLURM, "--into", "lab")
    Path("lab/ray-cluster.yaml").write_text("# all of it removed\n")
    code, _, complaint = init("--check", "lab")
    assert (code, "ray-cluster.yaml: holds no settings" in complaint) == (2, True)


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_folder_that_cannot_be_is_refused(init, force):
    Path("lab").write_text("a file of this name")
    code, out, complaint = init(*SLURM, "--into", "lab", *force)
    assert (code, out) == (3, "")
    assert "--into: cannot be written to" in complaint
    assert Path("lab").read_text() == "a file of this name"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which kind of cluster?"),
        (("--kind", "vms"), "'aws', 'gcp', 'onprem', 'kuberay' or 'slurm'"),
        (("--kind", "slurm"), "activate"),
        (("--config", "nowhere.yaml"), "cannot be read"),
        (("--check", "."), "holds no launcher files"),
    ],
)
def test_wrong_input_is_said_and_ends_with_2(init, arguments, said):
    code, out, complaint = init(*arguments)
    assert (code, out) == (2, "")
    assert said in complaint
    assert not list(Path.cwd().iterdir())
