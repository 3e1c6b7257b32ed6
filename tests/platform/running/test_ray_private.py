"""An embedded Ray is nobody else's: its files, its ports, the secrets it is not told, the modules its workers find."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from flowsweep.platform.errors import UserError
from flowsweep.platform.running import ray_private
from flowsweep.platform.running.ray_private import KEPT_S, LONGEST, PREFIX, keep, private_folder
from flowsweep.trainables.handed import HANDED, hand_on, take_up
from flowsweep.trainables.redaction import secrets_of

SECRETS = {
    "AWS_ACCESS_KEY_ID": "PLANTEDKEYIDENTIFIER",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-of-the-store",
    "RAY_AUTH_TOKEN": "planted-token-of-another-cluster",
    "LAB_DATABASE": "postgresql://me:planted-password@db/x",
}
LOOK = """
import json, os, sys, time
from pathlib import Path
import psutil, ray
from flowsweep.platform.running.ray_start import running_ray

def worker():
    from flowsweep.trainables.handed import take_up
    before = {name: os.environ.get(name) for name in SECRETS}
    take_up()
    return {"before": before, "after": {name: os.environ.get(name) for name in SECRETS}, "path": sys.path}

def text(file):
    return file.read_bytes().decode(errors="replace") if file.is_file() else ""

SECRETS = json.loads(sys.argv[1])
with running_ray(None):
    folder = Path(os.environ["RAY_TMPDIR"])
    said = ray.get(ray.remote(num_cpus=1)(worker).remote())
    time.sleep(2)  # agents write down what they were started with
    daemons = [each for each in psutil.Process().children(recursive=True)]
    said |= {
        "listening": sorted({one.laddr.ip for each in daemons for one in each.net_connections() if one.status == "LISTEN"}),
        "daemons": [each.name() for each in daemons],
        "groups": len({os.getpgid(each.pid) for each in daemons} - {os.getpgid(0)}),
        "told": [each.name() for each in daemons if set(SECRETS.values()) & set(each.environ().values())],
        "folder": str(folder), "mode": folder.stat().st_mode & 0o777,
        "token_mode": (folder / "token").stat().st_mode & 0o777,
        "handed_mode": (folder / "handed.json").stat().st_mode & 0o777,
        "files": sum(file.is_file() for file in folder.rglob("*")),
        "leaks": [str(file) for file in folder.rglob("*") if any(s in text(file) for s in SECRETS.values())],
    }
said |= {"left": folder.exists(), "own": all(os.environ[name] == value for name, value in SECRETS.items())}
print("SAID" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def looked(tmp_path_factory) -> dict:
    """What a Ray of ours and one worker of it show, started from a folder with a `torch.py` in it."""
    work = tmp_path_factory.mktemp("work")
    (work / "torch.py").write_text("raise SystemExit('mine')\n")
    script = tmp_path_factory.mktemp("script") / "look.py"
    script.write_text(LOOK)
    done = subprocess.run(
        [sys.executable, script, json.dumps(SECRETS)], cwd=work, env={**os.environ, **SECRETS}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    said = next((line for line in done.stdout.splitlines() if line.startswith("SAID")), None)
    assert said, done.stdout + done.stderr
    return json.loads(said[4:]) | {"work": str(work)}


def test_no_file_of_the_session_but_the_one_for_workers_holds_a_secret(looked):
    assert looked["files"] > 10
    assert looked["leaks"] == [f"{looked['folder']}/handed.json"]


def test_only_its_owner_can_enter_or_read(looked):
    assert (looked["mode"], looked["token_mode"], looked["handed_mode"]) == (0o700, 0o600, 0o600)


def test_daemons_are_told_no_secret_and_workers_find_them(looked):
    assert looked["told"] == []
    assert set(looked["before"].values()) == {None}
    assert looked["after"] == {**SECRETS, "RAY_AUTH_TOKEN": None}  # its own Ray has a token of its own


def test_all_that_listens_does_so_on_this_machine_alone(looked):
    assert looked["listening"]
    assert {address.removeprefix("::ffff:") for address in looked["listening"]} <= {"127.0.0.1", "::1"}


def test_workers_do_not_look_for_modules_in_the_working_directory(looked):
    assert looked["work"] not in looked["path"]
    assert "" not in looked["path"]


def test_daemons_have_process_groups_of_their_own(looked):
    assert "raylet" in looked["daemons"]
    assert looked["groups"] >= 3


def test_nothing_is_left_and_the_environment_is_as_it_was(looked):
    assert not looked["left"]
    assert looked["own"]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch) -> Path:
    """A folder that is short enough to be taken for Ray's."""
    monkeypatch.setattr(ray_private, "LONGEST", 200)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


def test_a_long_tmpdir_is_passed_by_and_a_long_wish_refused(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", "/" + "long" * 20)
    with private_folder() as folder:
        assert folder.parent == Path("/tmp")
    monkeypatch.setenv("RAY_TMPDIR", "/" + "x" * LONGEST)
    with pytest.raises(UserError, match=f"RAY_TMPDIR: is too long .* {LONGEST} characters"), private_folder():
        pass


def test_a_folder_that_takes_no_files_is_told_with_the_way_out(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/proc")
    with pytest.raises(UserError, match="RAY_TMPDIR: Ray's files cannot be written there"), private_folder():
        pass


def test_what_is_kept_for_its_logs_is_cleared_away_a_day_later(temporary: Path):
    with private_folder() as first:
        keep(first)
    with private_folder():
        assert first.exists()
    os.utime(first, (0, 0))
    with private_folder():
        assert not first.exists()


def test_a_folder_in_use_is_never_cleared_however_old(temporary: Path):
    (used := temporary / f"{PREFIX}used").mkdir()
    held = os.open(used, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    os.utime(used, (0, 0))
    with private_folder() as folder:
        assert used.exists()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    os.close(held)
    assert KEPT_S > 3600


def test_secrets_are_told_by_name_or_by_a_password_in_them():
    assert (
        secrets_of({**SECRETS, "HOME": "/root", "AWS_REGION": "x", "RAY_TLS_SERVER_KEY": "/key.pem"})
        == SECRETS
    )


def test_what_is_handed_on_fills_in_and_overrides_nothing(tmp_path: Path, monkeypatch):
    file = tmp_path / "handed.json"
    monkeypatch.setenv(HANDED, hand_on({"PLANTED_A": "a", "PLANTED_B": "b"}, file)[HANDED])
    monkeypatch.setenv("PLANTED_A", "own")
    monkeypatch.delenv("PLANTED_B", raising=False)
    take_up()
    assert (os.environ["PLANTED_A"], os.environ.pop("PLANTED_B")) == ("own", "b")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert hand_on({}, tmp_path / "none") == {}
