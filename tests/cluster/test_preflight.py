"""What the cluster looks at before it starts a sweep, each with its message and exit code, within ten seconds."""

from __future__ import annotations

import subprocess
import time

import pytest
from flowsweep.cluster import preflight
from flowsweep.cluster.entry import FAILED, READY
from flowsweep.platform.journal.events import SweepStarted
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.platform.sweep.spec import load_spec, shipped_sweeps
from flowsweep.platform.sweep.yaml_file import dump_yaml


@pytest.fixture
def started(monkeypatch):
    """Carries a job's arguments out up to where it becomes the command line: exit code, and that command."""
    became: list[list[str]] = []
    monkeypatch.setattr(preflight.os, "execv", lambda python, command: became.append(command[3:]))

    def start(*arguments: str):
        code = preflight.carry_out(arguments)
        return code, became.pop() if became else None

    return start


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def record(home, spec) -> None:
    """Leave a sweep as its driver records it."""
    folder = home / "sweeps" / spec.name
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(SweepStarted(name=spec.name))
    (folder / "sweep.yaml").write_text(dump_yaml(spec.model_dump(mode="json")))


def test_a_new_sweep_is_run_and_its_job_noted(started, home, toy_sweep_file, monkeypatch, capfd):
    monkeypatch.setenv("FLOWSWEEP_JOB", "flowsweep-toy-1")
    assert started("take-up", str(toy_sweep_file)) == (
        None,
        ["run", str(toy_sweep_file), "--address", "auto"],
    )
    assert READY in capfd.readouterr().out
    assert (home / "sweeps" / "toy" / "job").read_text() == "flowsweep-toy-1\n"


def test_the_same_sweep_is_gone_on_with_and_another_refused_with_the_difference(
    started, home, toy_sweep_file, capfd
):
    record(home, resolve(load_spec(toy_sweep_file)).spec)
    assert started("take-up", str(toy_sweep_file)) == (None, ["resume", "toy", "--address", "auto"])
    toy_sweep_file.write_text(toy_sweep_file.read_text().replace("trials: 2", "trials: 4"))
    assert started("take-up", str(toy_sweep_file)) == (3, None)
    assert f"{FAILED}name: another sweep of this name is on record there: search.trials: 2 there, 4 here" in (
        capfd.readouterr().err
    )


def test_data_that_the_cluster_lacks_are_told_with_the_command_that_makes_them(
    started, home, monkeypatch, capfd
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(home / "minari"))
    assert started("take-up", str(shipped_sweeps()["pointmaze-large"])) == (2, None)
    said = capfd.readouterr().err
    assert f"{FAILED}dataset: on the cluster: has not been made on this machine yet" in said
    assert "`flowsweep data make pointmaze-large-detour`" in said
    assert READY not in said


def test_only_what_is_on_record_is_resumed(started, home, toy_sweep_file, capfd):
    assert started("resume", "toy") == (3, None)
    assert "no sweep of this name on record there" in capfd.readouterr().err
    record(home, resolve(load_spec(toy_sweep_file)).spec)
    assert started("resume", "toy")[1] == ["resume", "toy", "--address", "auto"]


def test_an_object_store_nobody_answers_for_is_told_within_ten_seconds(
    started, home, toy_sweep_file, monkeypatch, capfd
):
    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "not-to-be-shown")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    toy_sweep_file.write_text(
        f"{toy_sweep_file.read_text()}storage: {{stages: 's3://bucket/prefix?region=us-east-1'}}\n"
    )
    before = time.monotonic()
    code, _ = started("take-up", str(toy_sweep_file))
    said = capfd.readouterr().err
    assert (code, "the stage store cannot be used" in said) == (4, True), said
    assert time.monotonic() - before < 10
    assert "not-to-be-shown" not in said


@pytest.fixture
def full_disk(tmp_path):
    """A filesystem of its own with a few blocks left."""
    place = tmp_path / "full"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("a full disk needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_home_is_told(started, full_disk, toy_sweep_file, monkeypatch, capfd):
    monkeypatch.setenv("FLOWSWEEP_HOME", str(full_disk / "home"))
    assert started("take-up", str(toy_sweep_file)) == (3, None)
    said = capfd.readouterr().err
    assert "--home: the home cannot be written to: No space left on device" in said
    subprocess.run(["mount", "-o", "remount,size=32m", full_disk], check=True)
    assert started("take-up", str(toy_sweep_file)) == (3, None)
    assert "MiB left" in capfd.readouterr().err


def test_a_home_that_cannot_be_made_is_told(started, tmp_path, toy_sweep_file, monkeypatch, capfd):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "file" / "home"))
    assert started("take-up", str(toy_sweep_file)) == (3, None)
    assert "Not a directory" in capfd.readouterr().err


def test_packages_that_are_too_old_are_named(started, home, toy_sweep_file, monkeypatch, tmp_path, capfd):
    metadata = tmp_path / "site" / "walker_plugin-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Name: walker-plugin\nVersion: 1.0\nRequires-Dist: numpy>=99\nRequires-Dist: none; python_version<'3'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("FLOWSWEEP_PACKAGES", "walker-plugin")
    assert started("take-up", str(toy_sweep_file)) == (3, None)
    assert "but >=99 is asked for" in capfd.readouterr().err


def test_a_ray_that_leaves_the_cluster_open_is_refused(started, home, toy_sweep_file, monkeypatch, capfd):
    import ray

    monkeypatch.setattr(ray, "__version__", "2.50.0")
    assert started("take-up", str(toy_sweep_file)) == (3, None)
    assert "CVE-2026-27482" in capfd.readouterr().err


def test_a_system_that_no_package_there_registers_is_told_with_how_to_send_it(
    started, home, toy_sweep_file, tmp_path, capfd
):
    content = toy_sweep_file.read_text()
    assert "system: toy\n" in content
    file = tmp_path / "elsewhere.yaml"
    file.write_text(content.replace("system: toy\n", "system: walker\n"))
    assert started("take-up", str(file)) == (2, None)
    said = capfd.readouterr().err
    assert "system: no package on the cluster registers this system (got 'walker')" in said
    assert "--package PATH" in said
