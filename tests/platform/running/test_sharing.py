"""Which sweep may run how many trials where several share a cluster."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from flowsweep.platform.errors import UserError
from flowsweep.platform.running.sharing import STALE_S, Board, Claim, Wish, Wishes, allot, board_folder


def claim(sweep: str, since: float = 0.0, priority: int = 0, most: int = 100, reserve=None, **trial) -> Claim:
    return Claim(sweep, since, priority, most, trial or {"CPU": 1}, reserve or {})


def test_a_sweep_alone_has_everything():
    assert allot({"CPU": 6}, [claim("a")]) == {"a": 6}
    assert allot({"CPU": 6}, [claim("a", most=2)]) == {"a": 2}


def test_equals_have_equal_parts_and_the_older_one_the_odd_trial():
    assert allot({"CPU": 7}, [claim("young", 2.0), claim("old", 1.0)]) == {"old": 4, "young": 3}


def test_what_one_does_not_want_goes_to_the_others():
    assert allot({"CPU": 9}, [claim("a", most=1), claim("b"), claim("c", most=3)]) == {"a": 1, "b": 5, "c": 3}


def test_a_higher_priority_is_served_first_up_to_what_it_may():
    claims = [claim("low"), claim("high", priority=5, most=2)]
    assert allot({"CPU": 3}, claims) == {"low": 1, "high": 2}
    assert allot({"CPU": 2}, claims) == {"low": 0, "high": 2}


def test_more_sweeps_than_places_wait_in_the_order_they_came():
    claims = [claim(name, since=number) for number, name in enumerate("abcd")]
    assert allot({"CPU": 2}, claims) == {"a": 1, "b": 1, "c": 0, "d": 0}
    assert allot({"CPU": 2}, claims[1:]) == {"b": 1, "c": 1, "d": 0}


def test_of_several_kinds_the_one_a_sweep_has_most_of_counts():
    # The example of the paper: 9 CPUs and 18 GB; A asks for (1, 4), B for (3, 1).
    have = {"CPU": 9, "memory": 18}
    claims = [claim("a", CPU=1, memory=4), claim("b", since=1, CPU=3, memory=1)]
    assert allot(have, claims) == {"a": 3, "b": 2}


def test_trials_of_cores_alone_do_not_wait_for_those_of_gpus():
    have = {"CPU": 16, "GPU": 4}
    claims = [claim("learning", CPU=1, GPU=1), claim("scoring", since=1, CPU=1)]
    assert allot(have, claims) == {"learning": 4, "scoring": 12}


def test_room_for_workers_is_kept_once_as_large_as_the_largest():
    one, other = claim("one", reserve={"CPU": 2}), claim("other", since=1, reserve={"CPU": 4})
    assert allot({"CPU": 10}, [one, other]) == {"one": 3, "other": 3}


def test_one_that_has_no_place_keeps_no_room_from_the_others():
    wide = claim("wide", since=1, reserve={"CPU": 4})
    assert allot({"CPU": 4}, [claim("first", CPU=4), wide]) == {"first": 1, "wide": 0}


def test_whoever_is_first_always_has_a_place_whatever_the_rest_ask_for():
    for count in range(1, 12):
        claims = [claim(f"s{n}", since=n, reserve={"CPU": n % 3}) for n in range(count)]
        assert allot({"CPU": 3}, claims)["s0"] >= 1


def test_all_drivers_come_to_the_same_whatever_order_they_read_in():
    claims = [claim(name, since=n % 2, priority=n % 3) for n, name in enumerate("abcdefg")]
    assert allot({"CPU": 11}, claims) == allot({"CPU": 11}, claims[::-1])


def test_a_driver_sees_the_claims_of_others_until_they_are_withdrawn(tmp_path: Path):
    one, other = Board(tmp_path / "b", "one"), Board(tmp_path / "b", "other")
    assert one.post(claim("one")) == [claim("one")]
    assert other.post(claim("other", priority=3)) == [claim("other", priority=3), claim("one")]
    assert {found.sweep for found in one.post(claim("one"))} == {"one", "other"}
    other.withdraw()
    assert one.post(claim("one")) == [claim("one")]


def test_the_claim_of_a_driver_that_died_lapses(tmp_path: Path):
    dead, alive = Board(tmp_path, "dead"), Board(tmp_path, "alive")
    dead.post(claim("dead"))
    before_s = time.time() - STALE_S - 1
    os.utime(tmp_path / "dead.json", (before_s, before_s))
    assert alive.post(claim("alive")) == [claim("alive")]


def test_a_damaged_claim_is_passed_over(tmp_path: Path):
    (tmp_path / "other.json").write_text(json.dumps({"sweep": "other"}))
    (tmp_path / "torn.json").write_text('{"sw')
    assert Board(tmp_path, "one").post(claim("one")) == [claim("one")]


def test_clusters_of_one_home_have_boards_of_their_own(tmp_path: Path):
    folders = {board_folder(tmp_path, address) for address in ("10.0.0.1:6379", "10.0.0.2:6379")}
    assert len(folders) == 2
    assert all(folder.parent == tmp_path / "shares" for folder in folders)


def test_the_last_word_on_each_wish_counts(tmp_path: Path):
    wishes = Wishes(tmp_path / "wishes.jsonl")
    assert wishes.last() == Wish()
    wishes.add(max_concurrent=2, priority=5)
    wishes.add(max_concurrent=3)
    assert wishes.last() == Wish(3, 5)
    wishes.add(max_concurrent="all")
    assert wishes.last() == replace(Wish(), priority=5)


def test_half_a_wish_waits_for_its_other_half(tmp_path: Path):
    wishes = Wishes(tmp_path / "wishes.jsonl")
    wishes.add(max_concurrent=2)
    with open(wishes.path, "ab") as file:
        file.write(b'{"max_conc')
    assert wishes.last() == Wish(2)


def test_a_wish_that_cannot_be_written_down_is_told(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be written"):
        Wishes(tmp_path / "nowhere" / "wishes.jsonl").add(priority=1)
