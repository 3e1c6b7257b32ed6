"""The doctor finds what is wrong, says what to do, and starts nothing unsaid; against real Ray, MLflow and MuJoCo."""

from __future__ import annotations

import json
import os
import tempfile
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from flowsweep.platform.doctor import checkup as doctor
from flowsweep.platform.doctor.checkup import (
    Check,
    check_folder,
    check_home,
    check_records,
    examine,
    strange_keys,
)
from flowsweep.platform.doctor.findings import Finding
from flowsweep.platform.errors import UserError
from flowsweep.platform.journal.events import SweepStarted
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def levels(findings) -> list[str]:
    return [finding.level for finding in findings]


def test_a_sound_installation_passes_with_a_task_run_on_ray_and_nothing_is_left(run, home):
    code, out, err = run("doctor", "--json")
    told = json.loads(out)
    by_check = {finding["check"]: finding for finding in told["findings"]}
    assert code == 0, told
    assert set(by_check) == {
        "python", "packages", "security", "home", "records", "clock", "datasets", "systems", "tracker", "rendering",
        "ray", "ray files",
    }  # fmt: skip
    assert "ran a task" in by_check["ray"]["what"]
    assert "starting an embedded Ray for one task" in err
    assert not home.root.exists()


def test_ray_is_not_started_when_told_so(run):
    code, out, err = run("doctor", "--no-ray")
    assert code == 0
    assert "an embedded Ray" not in out
    assert "starting" not in err
    assert "0 problems" in out


def test_a_tracker_and_a_cluster_that_do_not_answer_are_problems_and_the_rest_is_still_looked_at(run):
    code, out, _ = run(
        "doctor", "--tracker", "http://127.0.0.1:9", "--address", "http://127.0.0.1:9", "--json"
    )
    findings = json.loads(out)["findings"]
    problems = {f["check"]: f for f in findings if f["level"] == "problem"}
    assert (code, set(problems)) == (1, {"tracker", "cluster"})
    assert "does not answer" in problems["tracker"]["what"]
    assert "Start it or mend the address" in problems["tracker"]["fix"]
    assert "--dashboard-host" in problems["cluster"]["fix"]
    assert problems["cluster"]["fix"] not in problems["cluster"]["what"]
    assert len(findings) > 8


def test_a_recorded_tracker_is_asked_and_a_file_that_is_none_is_found(home):
    home.root.mkdir()
    database = Path(home.mlflow_uri.removeprefix("sqlite:///"))
    database.write_bytes(b"")
    assert levels(doctor.check_tracking(home, None)) == ["ok"]
    database.write_bytes(b"this is no database, whatever its name says" * 100)
    (finding,) = examine([Check("tracker", lambda: doctor.check_tracking(home, None))])
    assert finding.level == "problem"
    assert "not a database" in finding.what


def test_ray_starts_here_whatever_cluster_the_surroundings_name(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as short:  # Ray's socket paths must stay short
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
        monkeypatch.setenv("RAY_TMPDIR", short)
        Path(short, "ray").mkdir()
        Path(short, "ray", "ray_current_cluster").write_text("127.0.0.1:9")
        (finding,) = doctor.check_ray()
    assert finding.level == "ok", finding


def test_a_home_that_is_not_there_is_not_made(home):
    (finding,) = check_home(home)
    assert finding.level == "ok"
    assert "made by the first command that writes" in finding.what
    assert not home.root.exists()


def test_a_home_that_is_a_file_is_a_problem(home):
    home.root.write_text("")
    (finding,) = check_home(home)
    assert (finding.level, "FLOWSWEEP_HOME" in finding.fix) == ("problem", True)


def test_a_store_elsewhere_is_looked_at_too(home, tmp_path):
    home.root.mkdir()
    (tmp_path / "team").mkdir()
    home.stages.symlink_to(tmp_path / "team")
    assert [f.what.split()[0] for f in check_home(home)] == [str(home.root), str(tmp_path / "team")]
    home.stages.unlink()
    home.stages.mkdir()
    assert len(list(check_home(home))) == 1


def test_a_folder_that_takes_no_file_is_a_problem():
    proc = Path("/proc/self")  # there, a folder, and no file can be made in it even by root
    (finding,) = check_folder(proc)
    assert finding.level == "problem"


def test_little_free_disk_is_a_warning_that_names_the_way_out(tmp_path):
    (finding,) = check_folder(tmp_path, least_free_bytes=2**60)
    assert (finding.level, "flowsweep gc" in finding.fix) == ("warning", True)
    assert not list(tmp_path.iterdir())


def test_a_clock_behind_the_newest_fact_and_a_damaged_journal_are_found(home):
    with Journal(home.sweep("a").journal) as journal:
        journal.append(SweepStarted(name="a"))
    assert levels(check_records(home)) == ["ok", "ok"]
    _, clock = check_records(home, now=lambda: time.time() - 7200)
    assert (clock.check, clock.level) == ("clock", "problem")
    assert "2 h ahead" in clock.what
    home.sweep("b").root.mkdir()
    home.sweep("b").journal.write_text("{not json}\n")
    damaged, _ = check_records(home)
    assert (damaged.check, damaged.level) == ("records", "problem")
    assert "damaged at line 1" in damaged.what
    assert "good copy" in damaged.fix


def test_no_dataset_is_worth_knowing_and_no_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    (finding,) = doctor.check_datasets()
    assert (finding.level, "flowsweep data make" in finding.fix) == ("info", True)


def test_a_dataset_that_is_here_is_counted(umaze_dataset):
    (finding,) = doctor.check_datasets()
    assert finding.level == "ok"


def test_no_rendering_is_worth_knowing_and_no_problem(monkeypatch):
    (finding,) = doctor.check_rendering("raise SystemExit('no EGL device')")
    assert (finding.level, "no EGL device" in finding.what) == ("info", True)
    monkeypatch.setenv("FLOWSWEEP_RENDER_BACKEND", "nothing")
    (finding,) = doctor.check_rendering()
    assert (finding.level, "MUJOCO_GL=nothing" in finding.what) == ("info", True)


def test_a_system_of_another_package_that_does_not_load_is_named(monkeypatch, toy_system):
    (finding,) = doctor.check_systems()
    assert finding.level == "ok"
    assert "toy" in finding.what
    found = {
        "flowsweep.systems": [EntryPoint("gone", "no_such_module:SYSTEM", "flowsweep.systems")],
        "flowsweep.spaces": [EntryPoint("gone", "toy_system:SPACES", "flowsweep.spaces")],
    }
    monkeypatch.setattr(doctor, "entry_points", lambda group: found[group])
    system, space = doctor.check_systems()
    assert (system.level, space.level) == ("problem", "problem")
    assert "system gone: No module named 'no_such_module'" in system.what
    assert "no_such_module:SYSTEM" in system.fix
    assert "there is no system of that name" in space.what


def test_a_space_with_a_field_its_system_lacks_is_named(toy_system):
    from flowsweep.trainables.base import load_system

    system = load_system("toy")
    assert strange_keys(system, {"of_data": lambda source: {}}) == ""
    assert strange_keys(system, {"default": {"tune.rate": None}}) == ""
    assert (
        strange_keys(system, {"default": {"tune.rate": None, "tune.speed": None}})
        == "no such field: tune.speed"
    )


def test_a_check_that_breaks_is_a_finding_and_the_others_still_run():
    def breaks():
        yield Finding("a", "ok", "first")
        raise RuntimeError("second\nline")

    def refuses():
        raise UserError("is wrong", key="k", value=1, fix="Mend it.")

    announced: list[str] = []
    checks = [
        Check("a", breaks),
        Check("b", refuses, "asking b"),
        Check("c", lambda: [Finding("c", "ok", "fine")]),
    ]
    assert list(examine(checks, announced.append)) == [
        Finding("a", "ok", "first"),
        Finding("a", "problem", "could not be looked at: RuntimeError: second"),
        Finding("b", "problem", "k: is wrong (got 1).", "Mend it."),
        Finding("c", "ok", "fine"),
    ]
    assert announced == ["asking b"]


def test_the_environment_of_the_caller_is_left_as_it_was(run):
    before = dict(os.environ)
    run("doctor", "--no-ray", "--tracker", "http://127.0.0.1:9")
    assert dict(os.environ) == before
