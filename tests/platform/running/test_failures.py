"""What becomes of a trial that could not go on: by class, and by whether it came any further."""

from pathlib import Path

import pytest
from flowsweep.platform.running.failures import (
    NODE_LOST,
    TOLD_TO_LEAVE,
    Attempts,
    Failure,
    MemoryKills,
    Retry,
    failed_again,
    lost_worker,
)

LOST = Failure("preempted", "its worker ended unexpectedly")


def outcomes(failures, known, seeds=1, retries=2):
    attempts = Attempts()
    return [
        type(failed_again(failure, attempts, facts, seeds, retries)).__name__
        for failure, facts in zip(failures, known, strict=True)
    ]


def test_a_worker_lost_again_and_again_at_the_same_place_is_given_up():
    assert outcomes([LOST] * 4, [5, 5, 5, 5]) == ["Retry", "Retry", "Failure", "Failure"]


def test_a_worker_lost_after_coming_further_does_not_count():
    assert outcomes([LOST] * 6, [5, 9, 12, 13, 20, 21]) == ["Retry"] * 6


@pytest.mark.parametrize("reason", [TOLD_TO_LEAVE, NODE_LOST])
def test_preemption_never_counts(reason):
    assert outcomes([Failure("preempted", reason)] * 20, [5] * 20, retries=0) == ["Retry"] * 20


def test_memory_is_tried_once_more_with_one_seed_at_a_time():
    attempts = Attempts()
    first = failed_again(Failure("out_of_memory", "full"), attempts, 5, 3, 5)
    assert first == Retry("full; now one of 3 seeds after the other", 1)
    # Lost meanwhile, it keeps to one seed at a time; out of memory again, it ends.
    assert failed_again(LOST, attempts, 6, 3, 5) == Retry(LOST.reason, 1)
    assert failed_again(Failure("out_of_memory", "full"), attempts, 7, 3, 5) == Failure(
        "out_of_memory", "full"
    )


@pytest.mark.parametrize("name", ["diverged", "code_error", "configuration"])
def test_other_failures_are_not_tried_again(name):
    failure = Failure(name, "why")
    assert failed_again(failure, Attempts(), 5, 3, 5) is failure


DIED = "The actor died unexpectedly before finishing this task.\n\tclass_name: StageWalk\n\tpid: 4\n"
KILLED = (
    DIED
    + "Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file. Some common "
    "causes include: (1) the process was killed by the OOM killer due to high memory usage, (2) ray stop"
)


@pytest.mark.parametrize(
    ("said", "kernel", "expected"),
    [
        (DIED + "Worker exits with an exit code 1. The process receives a SIGTERM.", False, "preempted"),
        (DIED + "The actor is dead because its node has died. Node Id: 12ab", False, "preempted"),
        (KILLED, False, "preempted"),
        (KILLED, True, "out_of_memory"),
        ("OutOfMemoryError: the worker died. 1 worker(s) were killed due to the node running low on memory. \nOOM kill "
         "reason: Memory usage 3B exceeded threshold of 1B", False, "out_of_memory"),
        ("The actor died because of an error raised in its creation task, ray::StageWalk\nImportError: nope", False,
         "code_error"),
        ("ray::StageWalk.train()\nKeyError: 'x'", False, "code_error"),
    ],
)  # fmt: skip
def test_what_ray_says_of_a_worker_is_read_as_a_class_of_failure(said, kernel, expected):
    assert lost_worker(said, kernel).failure_class == expected


def test_processes_killed_by_the_kernel_are_noticed(tmp_path: Path):
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 4\noom_kill 4\n")
    kills = MemoryKills((str(tmp_path / "absent"), str(events)))
    assert not kills.rose()
    events.write_text("low 0\noom 5\noom_kill 5\n")
    assert kills.rose()
    assert not kills.rose()
