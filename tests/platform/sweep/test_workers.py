"""Several workers for a stage: what may be asked for, and that neither they nor the trials wait for each other for ever."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest
from flowsweep.platform.errors import UserError
from flowsweep.platform.journal.events import SweepStarted, TrialProposed
from flowsweep.platform.sweep.plan import concurrent_trials
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.platform.sweep.room import Demand, Node, trials_beside
from flowsweep.platform.sweep.spec import Resources, SweepSpec
from flowsweep.platform.sweep.workers import worker_errors, workers_of
from flowsweep.trainables.config import parse


def resources(workers, **settings) -> Resources:
    return parse(Resources, {"workers": workers, **settings})


def nodes(*cpus: float, gpus: float = 0):
    return [Node({"CPU": float(count), "GPU": float(gpus)}) for count in cpus]


def system(**spread):
    stages = tuple(SimpleNamespace(name=name, spread=how) for name, how in spread.items())
    return SimpleNamespace(stages=stages)


def test_only_stages_that_can_be_spread_take_several_workers(toy_sweep):
    able = system(pretrain="data_parallel", pools="shards", refine=None)
    assert not list(worker_errors(resources({"pretrain": 4, "pools": 2, "refine": 1}), able))
    [error] = worker_errors(resources({"refine": 2}), able)
    assert str(error) == (
        "resources.workers.refine: cannot be computed by several workers (got 2). "
        "Several may compute: pretrain, pools."
    )
    [error] = worker_errors(resources({"pretrian": 2}), able)
    assert "Did you mean `pretrain`?" in str(error)
    with pytest.raises(UserError, match=r"resources.workers.base: .* No stage of this system can be"):
        resolve(toy_sweep(resources={"workers": {"base": 2}}))


def test_the_last_stage_of_a_system_is_the_trials_own_and_is_not_spread():
    [error] = worker_errors(resources({"refine": 2}), system(pretrain="data_parallel", refine="shards"))
    assert "cannot be computed by several workers" in str(error)


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_a_count_of_workers_is_a_whole_number_above_zero(toy_sweep_values, count):
    with pytest.raises(UserError, match=r"resources.workers.base"):
        parse(SweepSpec, {**toy_sweep_values, "resources": {"workers": {"base": count}}})


def test_without_several_workers_nothing_is_kept_free():
    assert concurrent_trials(resources({"pretrain": 1}), nodes(2)) == 2
    assert concurrent_trials(resources({}), nodes(8)) == 8


def test_on_one_machine_the_trial_lends_its_cores_to_its_workers():
    assert concurrent_trials(resources({"pretrain": 2, "pools": 2}), nodes(2)) == 1
    assert concurrent_trials(resources({"pretrain": 3}), nodes(8)) == 6
    assert concurrent_trials(resources({"pretrain": 3}, concurrent=4), nodes(8)) == 4
    with pytest.raises(UserError, match=r"resources.workers.pretrain: .*2 CPUs, 0 GPUs on 1 node") as caught:
        concurrent_trials(resources({"pretrain": 3}), nodes(2))
    assert "resources.cpus" in str(caught.value)


def test_workers_and_trials_on_one_machine_never_ask_for_more_than_it_has():
    for count in range(2, 40):
        asked = resources({"pretrain": count}, cpus=0.7)
        machine = nodes(0.7 * (count + 2))
        trials = concurrent_trials(asked, machine)
        each = workers_of(asked).each("pretrain", 1)["CPU"]
        assert trials == 3
        assert trials * 0.7 + count * each <= machine[0].resources["CPU"] + 1e-9


def test_on_several_nodes_whole_shares_are_kept_free_whatever_the_trials_take():
    asked = resources({"pretrain": 3}, cpus=2)
    trials = concurrent_trials(asked, nodes(5, 5, 3))  # two, two and one share of two cores
    assert trials == 2
    assert workers_of(asked).each("pretrain", 3) == {"CPU": 2.0, "GPU": 0}


def test_a_worker_gets_whole_gpus_beside_trials_that_share_one():
    asked = resources({"pretrain": 3}, gpus=0.25, cpus=1)
    assert concurrent_trials(asked, nodes(32, gpus=4)) == 4
    assert workers_of(asked).each("pretrain", 1) == {"CPU": 1.0, "GPU": 1}
    # On two nodes: however five trials come to lie, three whole GPUs stay free.
    trials = concurrent_trials(asked, nodes(32, 32, gpus=3))
    touched = max(math.ceil(on_one / 4) + math.ceil((trials - on_one) / 4) for on_one in range(trials + 1))
    assert trials == 9
    assert 6 - touched >= 3
    with pytest.raises(UserError, match="4 GPUs"):
        concurrent_trials(resources({"pretrain": 4}, gpus=1), nodes(32, gpus=4))


def test_the_plan_shows_how_many_compute_a_stage(toy_sweep, tmp_path, monkeypatch):
    import toy_system
    from flowsweep.platform.paths import Home
    from flowsweep.platform.sweep.plan import make_plan

    monkeypatch.setattr(toy_system.SYSTEM.stages[0], "spread", "shards", raising=False)
    monkeypatch.setattr("flowsweep.platform.sweep.plan.local_capacity", lambda: Node({"CPU": 4.0}))
    plan = make_plan(toy_sweep(resources={"workers": {"base": 3}}), Home(tmp_path))
    assert [(row["stage"], row["workers"]) for row in plan.to_json()["stages"]][:2] == [
        ("base", 3),
        ("tune", 1),
    ]
    assert plan.concurrent == 2


def test_a_rerun_is_by_one_worker_and_says_so(toy_sweep, tmp_path):
    from flowsweep.platform.going_on.provenance import provenance
    from flowsweep.platform.journal.journal import Journal
    from flowsweep.platform.paths import Home
    from flowsweep.platform.rerun import rerun
    from flowsweep.platform.store.stages import StageStore
    from flowsweep.platform.sweep.plan import make_plan
    from flowsweep.trainables.request import TrialRequest, Workers
    from flowsweep.trainables.source_ref import SourceRef
    from flowsweep.trainables.walk import Walk

    home = Home(tmp_path)
    plan, paths = make_plan(toy_sweep(), home), home.sweep("toy")
    request = TrialRequest(
        trial="t0", system="toy", source=SourceRef(kind="dataset", name="toy/points"),
        configs=plan.resolved.trial_configs({}), seeds=(0,),
        through="tune", episodes=2,
    )  # fmt: skip
    spread = request.model_copy(update={"workers": Workers(counts={"base": 3})})
    with Journal(paths.journal) as journal:
        journal.append(SweepStarted(**provenance(plan)))
        journal.append(
            TrialProposed(phase="search", params={}, through="tune", seeds=(0,), request=spread), "t0"
        )
        for event in Walk(request, StageStore(home.stages), tmp_path / "walk"):
            journal.append(event, "t0")
    verdict = rerun(paths, home, "t0")
    assert verdict.verdict == "reproduced"
    [change] = [change for change in verdict.changes if change.startswith("workers")]
    assert change.startswith("workers: base 3 then, 1 now")


A100 = Node({"CPU": 1.0, "a100": 1.0}, {"zone": "b"})
PLAIN = Node({"CPU": 1.0}, {"zone": "a"})


def own(stage: dict, **settings) -> Resources:
    """Resources of a sweep whose stage `base` has such workers."""
    return parse(Resources, {"stages": {"base": stage}, **settings})


def test_a_stage_of_another_share_is_computed_beside_the_trial_even_by_one():
    workers = workers_of(own({"gpus": 1, "custom": {"a100": 1}}, cpus=2, labels={"zone": "a"}))
    assert workers.apart("base")
    assert workers.of("base") == 1
    assert workers.each("base", 1) == {"CPU": 2, "GPU": 1, "a100": 1}
    assert workers.labels_of("base") == {"zone": "a"}, "where nothing is said, what a trial has"
    assert (workers.device("base", "cpu"), workers.device("tune", "cpu")) == ("cuda", "cpu")
    assert not workers_of(parse(Resources, {})).apart("base")


def test_room_is_kept_for_a_stage_of_another_share(toy_sweep):
    half = own({"gpus": 1}, gpus=0.5)
    assert concurrent_trials(half, nodes(8, gpus=2)) == 2
    assert concurrent_trials(half, nodes(8, 8, gpus=2)) == 5, "one GPU stays whole however five come to lie"
    with pytest.raises(
        UserError, match=r"resources\.stages\.base: a trial and so many workers .*1 GPUs on 1 node"
    ):
        concurrent_trials(half, nodes(8, gpus=1))


def test_trials_that_could_lie_in_the_way_of_a_worker_are_refused_with_the_way_out():
    picky = own({"custom": {"a100": 1}})
    with pytest.raises(
        UserError, match=r"may come to lie where only workers of this stage fit.*resources.labels"
    ):
        concurrent_trials(picky, [A100, PLAIN, PLAIN])
    apart = own({"custom": {"a100": 1}, "labels": {}}, labels={"zone": "!b"})
    assert concurrent_trials(apart, [A100, PLAIN, PLAIN]) == 2


def test_what_no_node_has_is_refused_with_what_the_nodes_have():
    with pytest.raises(UserError) as caught:
        concurrent_trials(own({"custom": {"h100": 2}}), [A100, PLAIN, PLAIN])
    assert "resources.stages.base: a worker of `base` asks for (1 CPU, 2 h100), which no node has" in str(
        caught.value
    )
    assert "1 x (1 CPU, 1 a100, zone=b); 2 x (1 CPU, zone=a)" in str(caught.value)
    with pytest.raises(UserError, match=r"one trial asks for \(1 CPU, zone=in\(c,d\)\), which no node has"):
        concurrent_trials(parse(Resources, {"labels": {"zone": "in(c,d)"}}), [A100, PLAIN])
    with pytest.raises(UserError, match="3 CPU"):  # the cluster has four, no node has three
        concurrent_trials(parse(Resources, {"cpus": 3}), nodes(2, 2))


@pytest.mark.parametrize(
    ("label", "wanted", "expected"),
    [
        ("a", "a", True), ("a", "b", False), (None, "a", False), ("a", "!a", False), ("b", "!a", True), (None, "!a", True),
        ("a", "in(a, b)", True), ("c", "in(a,b)", False), ("c", "!in(a,b)", True), ("b", "!in(a,b)", False),
    ],
)  # fmt: skip
def test_labels_are_matched_as_ray_matches_them(label, wanted, expected):
    node = Node({"CPU": 1.0}, {} if label is None else {"zone": label})
    assert bool(node.fits(Demand({"CPU": 1}, {"zone": wanted}))) is expected


def test_a_stage_of_its_own_share_must_be_one_that_is_shared(toy_sweep):
    with pytest.raises(UserError, match=r"resources.stages.tune: is computed by the trial itself"):
        resolve(toy_sweep(resources={"stages": {"tune": {"gpus": 1}}}))
    with pytest.raises(UserError, match=r"resources.stages.bsae: unknown stage.*base"):
        resolve(toy_sweep(resources={"stages": {"bsae": {"gpus": 1}}}))
    with pytest.raises(UserError, match=r"`gpu` is `gpus` beside it"):
        toy_sweep(resources={"custom": {"gpu": 1}})


def every_way(trials: int, most: list[int]):
    """Every way to lay so many trials on nodes that take at most so many each."""
    if not most:
        yield from [()] if trials == 0 else []
        return
    for first in range(min(trials, most[0]) + 1):
        for rest in every_way(trials - first, most[1:]):
            yield (first, *rest)


def test_the_room_beside_trials_is_that_of_the_worst_way_they_can_lie():
    draw = random.Random(0)
    for _ in range(60):
        cluster = [
            Node({"CPU": float(draw.randint(1, 5)), "GPU": float(draw.randint(0, 3))}) for _ in range(3)
        ]
        trial = Demand({"CPU": 1, "GPU": draw.choice([0, 0.5, 1])})
        worker, count = Demand({"CPU": draw.randint(1, 2), "GPU": draw.choice([0, 1])}), draw.randint(1, 3)
        most = [node.fits(trial) for node in cluster]

        def worst(trials: int, most=most, cluster=cluster, trial=trial, worker=worker) -> int:
            ways = every_way(trials, most)
            return min(
                sum(n.fits(worker, trial, k) for n, k in zip(cluster, way, strict=True)) for way in ways
            )

        expected = max((n for n in range(sum(most) + 1) if worst(n) >= count), default=0)
        assert trials_beside(trial, worker, count, cluster) == expected
