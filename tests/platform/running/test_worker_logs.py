"""A worker that crashed is told by what it had printed; one that does so at every start is not tried for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from flowsweep.platform.running.failures import NODE_LOST, WORKER_LOST, lost_worker
from flowsweep.platform.running.worker_logs import LOG, WorkerLogs
from flowsweep.trainables.failures import Failure

# As Ray 2.60 words it.
CRASHED = (
    "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.\n\tclass_name: StageWalk\n"
    "\tactor_id: fbdf\n\tpid: 4711\n\tip: 127.0.0.1\nThe actor is dead because its worker process has died. Worker exit "
    "type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file."
)


@pytest.fixture
def logs(tmp_path: Path) -> WorkerLogs:
    (tmp_path / "worker-abc-01000000-4711.err").write_text(
        ":job_id:01000000\n:actor_name:StageWalk\nmujoco: cannot load libEGL.so\nFatal Python error: Aborted\nmore\nand more\n"
    )
    (tmp_path / "worker-abc-01000000-4711.out").write_text(":job_id:01000000\nstarting\n")
    return WorkerLogs(tmp_path)


def test_the_first_lines_of_its_log_are_told_and_all_of_it_is_kept(logs, tmp_path):
    told = logs.explain(CRASHED, lost_worker(CRASHED), tmp_path / "t0000", silent=False)
    assert told.failure_class == "preempted"
    assert (
        told.reason
        == f"{WORKER_LOST}; its log: mujoco: cannot load libEGL.so / Fatal Python error: Aborted / more"
    )
    kept = (tmp_path / "t0000" / LOG).read_text().splitlines()
    assert kept == [
        "mujoco: cannot load libEGL.so",
        "Fatal Python error: Aborted",
        "more",
        "and more",
        "starting",
    ]


def test_ending_at_the_start_with_the_same_words_twice_is_an_error_of_what_it_loads(logs, tmp_path):
    first, second = (
        logs.explain(CRASHED, lost_worker(CRASHED), tmp_path / name, silent=True)
        for name in ("t0000", "t0001")
    )
    assert (first.failure_class, second.failure_class) == ("preempted", "code_error")
    assert second.reason.startswith(
        "its worker ended while it started again; its log: mujoco: cannot load libEGL.so"
    )


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        (CRASHED, Failure("preempted", NODE_LOST)),
        (CRASHED.replace("4711", "4712"), Failure("preempted", WORKER_LOST)),
        ("worker died", Failure("preempted", WORKER_LOST)),
    ],
)
def test_where_nothing_is_known_nothing_is_added(logs, tmp_path, said, failure):
    assert logs.explain(said, failure, tmp_path / "t0000", silent=True) == failure
    assert not (tmp_path / "t0000").exists()
