"""Where a study is kept: files and a real PostgreSQL, an outage in the middle, and what is lost brought back."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from flowsweep.platform.errors import Unreachable, UserError
from flowsweep.platform.journal.events import Entry, SweepStarted, TrialEnded, TrialProposed
from flowsweep.platform.journal.state import SweepState
from flowsweep.platform.paths import SweepPaths
from flowsweep.platform.search.bridge import StudySearch
from flowsweep.platform.search.recovery import reconcile
from flowsweep.platform.search.storages import check_setting, check_storage, open_storage, study_name
from flowsweep.platform.sweep.search_spec import Search
from flowsweep.search_spaces.parameters import Integer, Real
from flowsweep.trainables.events import Evaluated
from optuna.trial import TrialState

SPACE = {"s.rate": Real(low=0.0, high=1.0), "s.depth": Integer(low=1, high=9)}


@dataclass
class Postgres:
    """A database server of our own on a free port of this machine."""

    bin: Path
    data: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/postgres"

    @property
    def user(self) -> str:
        return "postgres"

    def run(self, *command: str) -> None:
        """As an ordinary user, since the server refuses root."""
        who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd="/", **who
        )

    def start(self) -> None:
        options = f"-p {self.port} -k {self.data} -h 127.0.0.1 -F"
        self.run(
            f"{self.bin}/pg_ctl", "-D", f"{self.data}", "-w", "-l", f"{self.data}/log", "-o", options, "start"
        )

    def stop(self) -> None:
        self.run(f"{self.bin}/pg_ctl", "-D", f"{self.data}", "-w", "-m", "immediate", "stop")


def _server_programs() -> Path | None:
    found = shutil.which("initdb")
    beside = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return beside[-1].parent if beside else Path(found).parent if found else None


@pytest.fixture(scope="module")
def postgres(tmp_path_factory) -> Iterator[Postgres]:
    pytest.importorskip("psycopg")
    programs = _server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server on this machine")
    base = Path("/tmp" if os.geteuid() == 0 else tmp_path_factory.mktemp("pg"))
    data = base / f"flowsweep-test-pg-{os.getpid()}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Postgres(programs, data, port)
    try:
        server.run(f"{programs}/initdb", "-D", f"{data}", "-A", "trust", "-U", "postgres", "--no-sync")
    except (subprocess.CalledProcessError, LookupError, PermissionError):
        pytest.skip("this user may not start a PostgreSQL server")
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def setting(request) -> str:
    return request.getfixturevalue("postgres").url if request.param == "postgresql" else request.param


def opened(setting: str, paths: SweepPaths, trouble=lambda reason: None) -> StudySearch:
    name, kept = study_name(setting, paths), open_storage(setting, paths)
    nop = optuna.pruners.NopPruner()
    return StudySearch(
        name, kept, Search(sampler="random"), SPACE, "maximize", nop, context="c", trouble=trouble
    )


def test_a_study_survives_its_driver_wherever_it_is_kept(setting, tmp_path):
    paths = SweepPaths(tmp_path / "one")
    first = opened(setting, paths)
    for index in range(3):
        proposal = first.propose()
        first.report(proposal.trial, 10, index + 0.5)
        first.tell(proposal.trial, ["finished", "pruned", "diverged"][index], index + 0.5, "so")
    open_one = first.propose()
    assert first.close() == 0
    second = opened(setting, paths)
    states = [trial.state.name for trial in second.study.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert second.study.trials[1].intermediate_values == {10: 1.5}
    assert second.study.trials[3].params == dict(open_one.params)
    assert second.propose().trial == "t0004"
    assert second.close() == 0


def test_equal_names_in_a_shared_database_are_different_studies(postgres, tmp_path):
    mine, theirs = SweepPaths(tmp_path / "me" / "same"), SweepPaths(tmp_path / "you" / "same")
    first = opened(postgres.url, mine)
    first.propose()
    first.close()
    other = opened(postgres.url, theirs)
    assert other.propose().trial == "t0000"
    other.close()
    assert study_name(postgres.url, mine) != study_name(postgres.url, theirs)


def test_a_database_that_goes_away_stops_nothing_and_has_everything_in_the_end(postgres, tmp_path):
    told: list[str] = []
    paths = SweepPaths(tmp_path / "outage")
    search = opened(postgres.url, paths, told.append)
    search.tell(search.propose().trial, "finished", 1.0, "")
    assert search.settle() == 0
    postgres.stop()
    try:
        trials = [search.propose().trial for _ in range(3)]
        search.tell(trials[0], "finished", 2.0, "")
        search.tell(trials[1], "pruned", None, "too low")
        wait_until(lambda: told)
        assert len(told) == 1
    finally:
        postgres.start()
    wait_until(lambda: search.settle(1.0) == 0)
    search.close()
    again = opened(postgres.url, paths)
    assert [t.state.name for t in again.study.trials] == ["COMPLETE", "COMPLETE", "PRUNED", "RUNNING"]
    assert [t.user_attrs["trial"] for t in again.study.trials] == ["t0000", *trials]
    again.close()


def wait_until(true, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_locked_file_does_not_hold_up_a_proposal(tmp_path):
    paths = SweepPaths(tmp_path / "locked")
    search = opened("sqlite", paths)
    other = sqlite3.connect(paths.root / "optuna.db")
    other.execute("BEGIN EXCLUSIVE")
    started = time.process_time()
    proposal = search.propose()
    search.tell(proposal.trial, "finished", 0.5, "")
    assert time.process_time() - started < 1.0
    assert search.settle(0.2) > 0
    other.rollback()
    wait_until(lambda: search.settle(1.0) == 0)
    search.close()


def test_a_study_that_is_lost_is_made_again_from_the_journal(tmp_path):
    search = opened("sqlite", SweepPaths(tmp_path / "a"))
    proposals = [search.propose() for _ in range(4)]
    ends = ["finished", "pruned", None, "diverged"]
    spec = {"objective": {"metric": "tune/return", "direction": "maximize"}}
    facts = [Entry(seq=0, time=0.0, event=SweepStarted(spec=spec))]
    facts += [
        Entry(seq=i, time=0.0, trial=p.trial, event=TrialProposed(params=dict(p.params), through="tune"))
        for i, p in enumerate(proposals)
        if i != 2
    ]
    for proposal, end in zip(proposals, ends, strict=True):
        if proposal is proposals[2]:  # never put on record
            continue
        scored = Evaluated(stage="tune", step=10, steps=40, seeds=(0,), metrics={"return": [0.25]})
        facts.append(Entry(seq=9, time=0.0, trial=proposal.trial, event=scored))
        if end:
            facts.append(
                Entry(
                    seq=9, time=0.0, trial=proposal.trial, event=TrialEnded(status=end, value=0.5, reason=end)
                )
            )
    search.close()

    made = opened("sqlite", SweepPaths(tmp_path / "b"))
    reconcile(made, SweepState.of(facts), lambda step, latest: latest["return"])
    trials = made.study.trials
    assert [t.state for t in trials] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL,
    ]  # fmt: skip
    assert trials[0].params == dict(proposals[0].params)
    assert trials[1].intermediate_values == {10: 0.25}
    assert trials[2].user_attrs["reason"] == "not on record"
    assert made.propose().trial == "t0004"
    made.close()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("sqlit", "Did you mean `sqlite`?"),
        ("mysql://h/d", "this kind of database is not supported"),
        ("postgresql://h", "names no host or no database"),
        ("postgresql://u:hushhush@h/d", "holds a password"),
        ("postgresql://u@h/d?password=hushhush", "holds a password"),
    ],
)
def test_what_names_no_storage_is_refused_and_a_password_never_shown(setting, said):
    with pytest.raises(UserError) as caught:
        check_setting(setting)
    assert said in str(caught.value)
    assert "hushhush" not in str(caught.value)


def test_a_database_that_swallows_connections_is_given_up_in_time(monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setattr("flowsweep.platform.search.storages.ANSWER_S", 3.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        stop = threading.Event()
        threading.Thread(target=lambda: (silent.accept(), stop.wait(30)), daemon=True).start()
        with pytest.raises(Unreachable, match="cannot be used"):
            check_storage(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d")
        stop.set()


def test_a_database_that_is_not_there_is_said_before_anything_starts():
    pytest.importorskip("psycopg")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Unreachable, match="refused"):
        check_storage(f"postgresql://u@127.0.0.1:{port}/d")
