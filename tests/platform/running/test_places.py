"""How many trials may run: the cluster as it is, what a person wants, what other sweeps have, and who leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from flowsweep.platform.errors import UserError
from flowsweep.platform.running.places import Count, Places, await_fit
from flowsweep.platform.running.sharing import Board, Wishes
from flowsweep.platform.sweep.room import Node
from flowsweep.platform.sweep.share_spec import StageResources
from flowsweep.platform.sweep.spec import Resources
from flowsweep.trainables.leaving import LEAVE


@pytest.fixture
def found():
    """The cluster's nodes; tests change them."""
    return [Node({"CPU": 1.0}) for _ in range(3)]


@pytest.fixture
def places(tmp_path: Path, found):
    def build(board: Board | None = None, sweep: str = "one", **resources) -> Places:
        told: list[Count] = []
        built = Places(
            Resources(**resources), sweep, tmp_path / "trials", board, Wishes(tmp_path / f"{sweep}.jsonl"),
            told.append, lambda: list(found),
        )  # fmt: skip
        built.told = told  # type: ignore[attr-defined]
        return built

    return build


def look(one: Places) -> int:
    one._count = one._looked()
    return one.now()


def test_nodes_that_join_are_used_and_those_that_go_are_not_counted_on(places, found):
    sweep = places()
    assert sweep.now() == 3
    assert sweep.cores() == 3
    found.append(Node({"CPU": 2.0}))
    assert look(sweep) == sweep.cores() == 5, "as many workers may start at once as there are cores now"
    del found[:3]
    assert look(sweep) == 2
    assert [count.trials for count in sweep.told] == [3, 5, 2], "each change is told once"
    assert sweep.told[-1].reason == "as many as fit 1 node(s)"


def test_one_trial_goes_on_where_the_nodes_its_workers_need_are_lost(places, found):
    found.append(Node({"CPU": 1.0, "a100": 1.0}, {"zone": "b"}))
    own = {"base": StageResources(custom={"a100": 1}, labels={"zone": "b"})}
    sweep = places(stages=own, labels={"zone": "!b"})
    assert sweep.now() == 3
    found.pop()
    assert look(sweep) == 1
    found.clear()
    assert look(sweep) == 0


def test_a_cap_holds_whatever_joins(places, found, tmp_path):
    sweep = places(concurrent=2)
    found.append(Node({"CPU": 8.0}))
    assert look(sweep) == 2
    Wishes(tmp_path / "one.jsonl").add(max_concurrent=1)
    assert look(sweep) == 1
    Wishes(tmp_path / "one.jsonl").add(max_concurrent=0)
    assert look(sweep) == 0


def test_sweeps_of_one_cluster_share_it_and_give_back(places, tmp_path):
    board = tmp_path / "board"
    one, two = places(Board(board, "one")), places(Board(board, "two"), "two")
    assert two.now() == 1
    assert look(one) == 2
    Wishes(tmp_path / "two.jsonl").add(priority=7)
    assert look(two) == 3
    assert look(one) == 0
    two.need(1)  # its last trial runs
    assert look(two) == 3, "what it does not need is no limit of its own"
    assert look(one) == 2
    with two:
        pass
    assert look(one) == 3


def test_the_newest_trials_are_asked_to_leave_where_too_many_run(places, found, tmp_path):
    sweep, running = places(), dict.fromkeys(["t0", "t1", "t2"])
    for trial in running:
        (tmp_path / "trials" / trial).mkdir(parents=True)
    asked = lambda: sorted(path.parent.name for path in tmp_path.glob(f"trials/*/{LEAVE}"))  # noqa: E731
    sweep.crowded(running)
    assert asked() == []
    del found[0]
    look(sweep)
    sweep.crowded(running)
    sweep.crowded(running)
    assert asked() == ["t2"], "asked once, until it has left"
    assert sweep.made_room("t2")
    assert not sweep.made_room("t1")
    sweep.stay("t2")
    assert asked() == []
    assert not sweep.made_room("t2")


def test_what_is_not_there_yet_is_waited_for_as_long_as_the_sweep_says():
    nodes, looks = [Node({"CPU": 4.0})], []

    def look():
        looks.append(1)
        return nodes + [Node({"CPU": 1.0, "a100": 1.0})] * (len(looks) > 1)

    wanted = Resources(custom={"a100": 1})
    with pytest.raises(UserError, match=r"1 a100\), which no node has; there are 1 x \(4 CPU\)"):
        await_fit(wanted, lambda: False, lambda: nodes)
    patient = wanted.model_copy(update={"wait_for_nodes_s": 30.0})
    await_fit(patient, lambda: False, look, lambda bundle: None)
    with pytest.raises(UserError):
        await_fit(patient, lambda: True, lambda: nodes, lambda bundle: None)


def test_a_cluster_that_can_grow_is_asked_for_one_more(places):
    assert places(wait_for_nodes_s=60).now() == 4
    assert places(wait_for_nodes_s=60, concurrent=2).now() == 2
