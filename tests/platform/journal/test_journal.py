"""The sweep's record: what is written stays, what is torn goes, and only one may write."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from flowsweep.platform.errors import Refused, UserError
from flowsweep.platform.journal.events import (
    Recovered,
    SweepEnded,
    SweepResumed,
    SweepStarted,
    TrialPlaced,
    TrialStopped,
)
from flowsweep.platform.journal.journal import Journal, read, tail, writer_of
from flowsweep.trainables.events import Progress


@pytest.fixture
def path(tmp_path):
    return tmp_path / "maze-1" / "journal.jsonl"


def spawn(code: str, *args: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_facts_come_back_in_order_with_what_they_said(path):
    with Journal(path) as journal:
        journal.append(SweepStarted(name="maze-1"))
        written = journal.append(TrialStopped(rule="median", reason="below the median at 500"), "t0")
    facts = list(read(path))
    assert [(fact.seq, fact.event.kind, fact.trial) for fact in facts] == [
        (0, "sweep_started", None),
        (1, "trial_stopped", "t0"),
    ]
    assert facts[1] == written
    assert list(read(path, after_seq=0)) == [written]


def test_non_finite_numbers_survive_and_every_line_is_plain_json(path):
    values = {
        "loss": [math.nan, math.inf, -math.inf, 1.5],
        "count": [np.int64(3)],
        "mean": [np.float32("nan")],
    }
    with Journal(path) as journal:
        journal.append(Progress(stage="refine", step=1, steps=2, seeds=(0,), metrics=values), "t0")
    json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    back = next(iter(read(path))).event.metrics
    assert math.isnan(back["loss"][0])
    assert back["loss"][1:] == [math.inf, -math.inf, 1.5]
    assert back["count"] == [3]
    assert math.isnan(back["mean"][0])


def test_a_torn_last_line_is_dropped_on_reading_and_removed_on_opening(path):
    with Journal(path) as journal:
        journal.append(TrialPlaced(node="a"), "t0")
        journal.append(TrialPlaced(node="b"), "t1")
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines(keepends=True)[-1])):
        path.write_bytes(whole[:-cut])
        assert [fact.trial for fact in read(path)] == ["t0"]
    torn_bytes = len(path.read_bytes()) - path.read_bytes().index(b"\n") - 1
    with Journal(path) as journal:
        assert journal.recovered is not None
        assert journal.recovered.event == Recovered(dropped_bytes=torn_bytes)
        journal.append(TrialPlaced(node="c"), "t2")
    assert [(fact.seq, fact.event.kind) for fact in read(path)] == [
        (0, "trial_placed"),
        (1, "recovered"),
        (2, "trial_placed"),
    ]


def test_an_undamaged_journal_continues_without_saying_it_recovered(path):
    with Journal(path) as journal:
        journal.append(SweepStarted())
    with Journal(path) as journal:
        assert journal.recovered is None
        assert journal.append(SweepResumed()).seq == 1


def test_a_damaged_line_in_the_middle_is_refused_by_its_number(path):
    with Journal(path) as journal:
        for trial in ("t0", "t1", "t2"):
            journal.append(TrialPlaced(), trial)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b'"kind"', b"kind") + lines[2])
    with pytest.raises(UserError, match="line 2"):
        list(read(path))


def test_a_gap_and_a_repeat_are_noticed(path):
    with Journal(path) as journal:
        for trial in ("t0", "t1", "t2"):
            journal.append(TrialPlaced(), trial)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    for lines, said in (
        (first + third, "line 2: event 2, and 1 are missing before it"),
        (second + third, "line 1: event 1, and 1 are missing before it"),
        (first + second + second + third, "line 3: event 1, and it was there before"),
    ):
        path.write_bytes(lines)
        with pytest.raises(UserError, match=said):
            list(read(path))
        with pytest.raises(UserError, match="damaged at byte"):
            tail(path, 0)
    path.write_bytes(first + second + third)
    assert [fact.seq for fact in tail(path, len(first))[0]] == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        "null", "[]", "5", '"text"', "{}", '{"seq": "a", "time": 0, "event": {"kind": "recovered"}}', '{"seq": 0, "time": 0, "event": 5}',
        '{"seq": 0, "time": 0, "event": []}', '{"seq": 0, "time": 0, "event": {"kind": "recovered", "dropped_bytes": 1}, "trial": 7}',
        '{"seq": 0, "time": "now", "kind": "k"}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_line_that_is_json_of_another_form_is_refused_by_its_number(path, line):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{line}\n")
    with pytest.raises(UserError, match="damaged at line 1"):
        list(read(path))


def test_what_the_system_refuses_is_told_with_the_path(path, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*cannot be made: Not a directory"):
        Journal(tmp_path / "file" / "x" / "journal.jsonl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", refuse)
        with pytest.raises(UserError, match=f"{path}.*cannot be locked: No locks available"):
            Journal(path)
    journal = Journal(path)
    journal.append(TrialPlaced(), "t0")
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(UserError, match=f"{path}.*cannot be forced to the disk"):
        journal.append(SweepEnded(status="finished"))
    with pytest.raises(UserError, match="forced to the disk"):
        journal.close()
    monkeypatch.undo()
    Journal(path).close()  # the lock was let go of


def test_the_entry_of_a_new_journal_is_forced_to_the_disk(path, monkeypatch):
    forced = []
    whole = os.fsync
    monkeypatch.setattr("os.fsync", lambda fd: (forced.append(os.readlink(f"/proc/self/fd/{fd}")), whole(fd)))
    with Journal(path):
        assert forced == [str(path.parent), str(path.parent.parent)]


def test_reading_a_journal_that_is_not_there_says_so(tmp_path):
    with pytest.raises(UserError, match="no record"):
        list(read(tmp_path / "nothing.jsonl"))


def test_a_second_writer_is_refused_and_told_who_holds_the_journal(path):
    code = (
        "import sys, pathlib, time\n"
        "from flowsweep.platform.journal.journal import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1])); print('open', flush=True); time.sleep(60)"
    )
    holder = spawn(code, path)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(Refused, match=f"pid {holder.pid} on "):
            Journal(path)
        assert (writer_of(path) or "").startswith(f"pid {holder.pid} on ")
    finally:
        holder.kill()
        holder.wait()
    assert writer_of(path) is None  # The lock dies with its holder.
    Journal(path).close()


def test_a_writer_killed_at_any_moment_leaves_a_gapless_record(path):
    code = (
        "import sys, pathlib\n"
        "from flowsweep.platform.journal.journal import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1])); print('open', flush=True)\n"
        "from flowsweep.platform.journal.events import Recovered, SearchEnded\n"
        "while True: print(journal.append(SearchEnded(reason='x' * 3000)).seq, flush=True)"
    )
    last_seq = -1
    for _ in range(3):
        writer = spawn(code, path)
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = [int(writer.stdout.readline()) for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        seen += [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        writer.wait()
        with Journal(path):
            pass
        kept = [fact.seq for fact in read(path)]
        assert kept == list(range(len(kept)))
        assert kept[-1] >= seen[-1] > last_seq
        last_seq = kept[-1]


def test_a_full_disk_is_explained_and_leaves_the_record_whole(path):
    code = (
        "import pathlib, resource, sys\n"
        "from flowsweep.platform.errors import UserError\n"
        "from flowsweep.platform.journal.events import Recovered, SearchEnded, SweepEnded, SweepStarted\n"
        "from flowsweep.platform.journal.journal import Journal\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "journal = Journal(pathlib.Path(sys.argv[1])); journal.append(SweepStarted())\n"
        "try: journal.append(SearchEnded(reason='x' * 2000))\n"
        "except UserError as error: print(error)\n"
        "print(journal.append(SweepEnded(status='finished')).seq)"
    )
    out, err = spawn(code, path).communicate()
    assert "cannot be written" in out, err
    assert [(fact.seq, fact.event.kind) for fact in read(path)] == [(0, "sweep_started"), (1, "sweep_ended")]


def test_threads_do_not_mix_their_lines(path):
    with Journal(path) as journal:
        threads = [
            threading.Thread(
                target=lambda n=n: [journal.append(TrialPlaced(pid=i), f"t{n}") for i in range(200)]
            )
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    facts = list(read(path))
    assert [fact.seq for fact in facts] == list(range(800))
    for n in range(4):
        assert [fact.event.pid for fact in facts if fact.trial == f"t{n}"] == list(range(200))


def test_a_reader_that_keeps_its_place_sees_every_fact_once(path):
    seen, offset = tail(path, 0)
    assert (seen, offset) == ([], 0)
    with Journal(path) as journal:
        for i in range(50):
            journal.append(TrialPlaced(pid=i, node="x" * (i * 7)), "t0")
            facts, offset = tail(path, offset, limit_bytes=64)
            seen += facts
    while facts:
        facts, offset = tail(path, offset, limit_bytes=64)
        seen += facts
    assert [fact.event.pid for fact in seen] == list(range(50))
    assert offset == os.path.getsize(path)


def test_a_place_beyond_the_end_is_refused(path):
    with Journal(path) as journal:
        journal.append(SweepStarted())
    with pytest.raises(UserError, match="shorter"):
        tail(path, 10_000)
