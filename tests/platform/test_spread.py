"""Stages computed by several workers on real Ray: the same outputs, whoever is killed or told to leave on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flowsweep.platform.journal.journal import read
from flowsweep.platform.paths import Home
from flowsweep.platform.store.stages import StageStore
from flowsweep.platform.sweep.yaml_file import dump_yaml
from flowsweep.trainables.base import Lane, Learner
from flowsweep.trainables.checkpoints import CheckpointPolicy, Checkpoints
from flowsweep.trainables.fidec import SYSTEM
from flowsweep.trainables.request import Share, TrialRequest, Workers
from flowsweep.trainables.source_ref import SourceRef
from flowsweep.trainables.spread import Spread
from flowsweep.trainables.spread_worker import Job, work
from flowsweep.trainables.training import Training
from flowsweep.trainables.walk import Walk

PRETRAIN = {"steps": 300, "hidden": [16, 16], "batch_size": 32}
POOLS = {"steps": 8, "base_actions": 2, "fisher_samples": 2}


@pytest.fixture
def job(umaze_dataset, tmp_path: Path):
    """Builds a job of a stage for two workers; what it needs is computed first, by one."""

    def build(
        stage: str, folder: str = "spread", pretrain: dict | None = None, pools: dict | None = None
    ) -> Job:
        configs = {"pretrain": {**PRETRAIN, **(pretrain or {})}, "pools": {**POOLS, **(pools or {})}}
        request = TrialRequest(
            trial="t", system="fidec", source=SourceRef(kind="dataset", name=umaze_dataset),
            seeds=(0,), through="pretrain", episodes=1,
            configs=configs, workers=Workers(counts={"pretrain": 2, "pools": 2}, retries=2),
            checkpoints=CheckpointPolicy(every_s=None, every_steps=200),
        )  # fmt: skip
        store, upstream = StageStore(tmp_path / "stages"), {}
        if stage == "pools":
            walk = Walk(
                request.model_copy(update={"workers": Workers(), "through": "pools"}), store, tmp_path / "t"
            )
            for event in walk:
                if event.kind == "stage_computed":
                    upstream[event.stage] = event.key
                if event.kind == "evaluated":
                    break
        return Job(request, stage, 0, upstream, store, tmp_path / folder)

    return build


def learner_of(job: Job) -> Learner:
    stage = SYSTEM.stage(job.stage)
    upstream = {name: job.store.load(key) for name, key in job.upstream.items() if name != job.stage}
    config = stage.config_type.model_validate(job.request.configs[job.stage], strict=False)
    return stage.start([Lane(config, 0, upstream)], SYSTEM.open_source(job.request.source.name), "cpu")


def test_pools_put_together_from_workers_are_those_that_were_stored_by_one(job, tmp_path: Path):
    pools = job("pools")
    work(pools, 1, 2, "cpu")
    leaving = replace(pools, crew="leaving")
    leaving.leave.touch()
    work(leaving, 0, 2, "cpu")  # leaves after its first chunk
    spread = Spread(pools, pools.request.workers)
    assert [event.step for event in spread._heard() if event.kind == "progress"] == [1]
    work(pools, 0, 2, "cpu")
    assert [event.step for event in spread._heard() if event.kind == "progress"] == list(range(2, 9))
    learner = learner_of(pools)
    spread.finish(learner)
    [found], expected = learner.outputs(), pools.store.load(pools.upstream["pools"])
    assert found.meta == expected.meta
    assert set(found.tensors) == set(expected.tensors)
    for name, value in expected.tensors.items():
        assert torch.equal(found.tensors[name], value), name


def test_an_only_worker_leaves_what_the_trial_itself_would_have_computed(job, tmp_path: Path):
    one = job("pretrain", "one")
    begun = replace(one, crew="leaving")
    begun.folder.mkdir(parents=True)
    begun.leave.touch()
    work(begun, 0, 1, "cpu")  # leaves on the way
    spread = Spread(one, Workers(stages={"pretrain": Share()}))
    work(one, 0, 1, "cpu")
    said = list(spread._heard())
    assert [event.step for event in said if event.kind == "progress"] == list(range(15, 301, 15))
    learner = learner_of(one)
    spread.finish(learner)  # nothing to put together: the trial finds the worker's checkpoint as its own
    training = Training("pretrain", learner, one.steps, [0], one.folder)
    assert [event.kind for event in training if event.kind == "progress"] == []
    request = one.request.model_copy(update={"workers": Workers()})
    walk, alone = Walk(request, one.store, tmp_path / "alone"), None
    for event in walk:
        if event.kind == "stage_computed":
            alone = one.store.load(event.key)
            break
    assert alone is not None
    [found] = learner.outputs()
    for name, value in alone.tensors.items():
        assert torch.equal(found.tensors[name], value), name


SWEEP = {
    "name": "spread",
    "system": "fidec",
    "objective": {"metric": "refine/success_rate"},
    "stages": {
        "pretrain": {"steps": 300, "hidden": [16, 16], "batch_size": 33},
        "pools": {"steps": 8, "base_actions": 2, "fisher_samples": 2},
        "refine": {"steps": 40, "hidden": [16, 16], "batch_size": 32},
    },
    "search": {"trials": 1, "sampler": "random"},
    "seeds": {"tune": [0], "test": [10]},
    "evaluation": {"episodes": 1},
    "confirm": {"top": 0},
}


def swept(home: Path, dataset: str, name: str, workers: dict) -> list:
    file = home / f"{name}.yaml"
    file.write_text(dump_yaml({**SWEEP, "name": name, "dataset": dataset, "resources": {"workers": workers}}))
    done = subprocess.run(
        [sys.executable, "-m", "flowsweep.platform.cli", "run", str(file)],
        env=dict(os.environ), capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "gloo" not in done.stdout + done.stderr
    return list(read(Home(home).sweep(name).journal))


def test_a_trial_by_one_worker_takes_up_what_two_have_computed(umaze_dataset, flowsweep_home, tmp_path: Path):
    two = swept(flowsweep_home, umaze_dataset, "by-two", {"pretrain": 2, "pools": 2})
    computed = {fact.event.stage: fact.event.key for fact in two if fact.event.kind == "stage_computed"}
    assert list(computed) == ["pretrain", "pools"]
    steps = [f.event.step for f in two if f.event.kind == "progress" and f.event.stage == "pretrain"]
    assert steps == list(range(15, 301, 15))
    assert not list((Home(flowsweep_home).sweep("by-two").trials / "t0000").glob("p*-seed-0/*of*"))

    request = next(fact.event.request for fact in two if fact.event.kind == "trial_proposed")
    assert request.workers.counts == {"pretrain": 2, "pools": 2}
    alone = request.model_copy(update={"workers": Workers()})
    events = list(Walk(alone, StageStore(Home(flowsweep_home).stages), tmp_path / "alone"))
    assert {event.stage: event.key for event in events if event.kind == "stage_reused"} == computed
    assert [event.metrics for event in events if event.kind == "evaluated"] == [
        fact.event.metrics for fact in two if fact.event.kind == "evaluated"
    ]


def test_a_stage_that_one_has_computed_needs_no_workers(job, tmp_path: Path):
    alone = job("pools")
    several = alone.request.model_copy(update={"through": "pools", "trial": "later"})
    for event in Walk(several, alone.store, tmp_path / "later"):
        assert event.kind != "stage_computed"
        if event.kind == "stage_reused" and event.stage == "pools":
            break
    assert event.key == alone.upstream["pools"]


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    import ray

    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL"
    )
    yield
    ray.shutdown()


def workers_alive(name: str) -> list:
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def until_gone(name: str) -> None:
    """Wait for workers that were told to end; a process takes a moment for it."""
    deadline = time.monotonic() + 20
    while workers_alive(name):
        assert time.monotonic() < deadline, "they have stayed"
        time.sleep(0.1)


def kill_first(name: str) -> None:
    """Kill the first worker of that name as soon as there is one, whatever the driver is told meanwhile."""
    deadline = time.monotonic() + 100
    while not (found := workers_alive(name)):
        assert time.monotonic() < deadline, "none came up"
        time.sleep(0.01)
    found[0].kill()


def final(job: Job) -> dict[str, torch.Tensor]:
    state = Checkpoints(job.folder).latest()
    assert state is not None
    assert state.meta["learner"]["step"] == job.steps
    return dict(state.tensors)


@pytest.mark.slow
def test_killed_or_interrupted_workers_go_on_to_the_result_of_undisturbed_ones(two_cpus, job):
    long = {"steps": 3000, "batch_size": 128}
    undisturbed = job("pretrain", "undisturbed", long)
    list(Spread(undisturbed, undisturbed.request.workers))
    until_gone("RayTrainWorker")

    killed, lost = job("pretrain", "killed", long), []
    for event in Spread(killed, killed.request.workers):
        if event.kind == "progress" and event.step == 1200 and not lost:
            workers_alive("RayTrainWorker")[-1].kill()
        if event.kind == "worker_lost":
            lost.append(event)
    assert [event.step >= 1000 for event in lost] == [True]

    parted = job("pretrain", "parted", long)
    first = Spread(parted, parted.request.workers)
    for event in first:
        if event.kind == "progress" and event.step == 900:
            saved = first.save()
            break
    assert saved is not None
    assert 900 <= saved.step < 3000
    until_gone("RayTrainWorker")
    said = list(Spread(parted, parted.request.workers))
    assert [event.step for event in said if event.kind == "continued"] == [saved.step]

    for other in (killed, parted):
        for name, value in final(undisturbed).items():
            assert torch.equal(final(other)[name], value), name


@pytest.mark.slow
def test_a_killed_shard_is_started_anew_and_the_others_go_on(two_cpus, job):
    pools = job("pools", "shards", pools={"base_actions": 32, "fisher_samples": 16})
    spread = Spread(pools, pools.request.workers)
    killer = threading.Thread(target=kill_first, args=("work_shard",))
    killer.start()
    losses = [event for event in spread if event.kind == "worker_lost"]
    killer.join()
    learner = learner_of(pools)
    spread.finish(learner)
    assert [event.reason for event in losses] == ["its process ended"]
    for name, value in pools.store.load(pools.upstream["pools"]).tensors.items():
        assert torch.equal(learner.outputs()[0].tensors[name], value), name


@pytest.mark.slow
def test_an_error_that_would_come_again_is_not_tried_again(two_cpus, job):
    from flowsweep.trainables.errors import UserError

    tiny = job("pretrain", "tiny", {"batch_size": 1})
    with pytest.raises(UserError, match="batch_size: cannot be divided among 2 workers"):
        list(Spread(tiny, tiny.request.workers))
