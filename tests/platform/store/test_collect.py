"""What goes and what stays: the rule by itself."""

from __future__ import annotations

import random

import pytest
from flowsweep.platform.errors import UserError
from flowsweep.platform.store.collect import (
    DAY_S,
    HOUR_S,
    Decision,
    Item,
    Limits,
    age,
    decide,
    parse_age,
    parse_budget,
    total_bytes,
)

GIB = 2**30
EVERYTHING = Limits(budget_bytes=0)


def output(
    name: str, size: int = 1, idle_d: float = 10, *upstream: str, cpu_s: float = 1.0, needed: str = ""
) -> Item:
    return Item("artifact", name, name, size, idle_d * DAY_S, needed, cpu_s, upstream)


def dropped(decisions: list[Decision]) -> list[str]:
    return [decision.item.name for decision in decisions if decision.action == "drop"]


def reason(decisions: list[Decision], name: str) -> str:
    return next(decision.reason for decision in decisions if decision.item.name == name)


def test_without_a_limit_no_stage_output_goes():
    decisions = decide([output("a"), output("b", idle_d=1000)], Limits())
    assert dropped(decisions) == []
    assert reason(decisions, "a") == "no limit asks for it"


def test_the_least_recently_used_goes_first_until_the_budget_is_met():
    items = [output("new", 4, 1), output("old", 4, 30), output("older", 4, 60)]
    decisions = decide(items, Limits(budget_bytes=6))
    assert dropped(decisions) == ["older", "old"]
    assert reason(decisions, "new") == "fits the budget"
    assert total_bytes(decisions, "keep") == 4


def test_of_those_last_used_on_one_day_the_cheapest_per_byte_goes_first():
    costly = output("costly", 10, 5.1, cpu_s=1000)
    cheap = output("cheap", 10, 5.9, cpu_s=10)
    large = output("large", 1000, 5.5, cpu_s=100)
    assert dropped(decide([costly, cheap, large], EVERYTHING)) == ["large", "cheap", "costly"]


def test_an_age_limit_spares_what_was_used_since():
    decisions = decide([output("old", idle_d=31), output("new", idle_d=29)], Limits(older_than_s=30 * DAY_S))
    assert dropped(decisions) == ["old"]
    assert reason(decisions, "new") == "used 29 d ago, within 30 d"


def test_with_both_limits_only_the_old_go_and_only_as_many_as_the_budget_asks():
    items = [output("a", 5, 50), output("b", 5, 40), output("c", 5, 1)]
    assert dropped(decide(items, Limits(budget_bytes=10, older_than_s=30 * DAY_S))) == ["a"]
    assert dropped(decide(items, Limits(budget_bytes=0, older_than_s=30 * DAY_S))) == ["a", "b"]


def test_what_was_used_a_moment_ago_stays_even_with_a_budget_of_nothing():
    assert dropped(decide([output("a", idle_d=0.5 / 24)], EVERYTHING)) == []
    assert dropped(decide([output("a", idle_d=2 / 24)], EVERYTHING)) == ["a"]


def test_what_something_alive_needs_stays_with_all_it_was_computed_from():
    items = [
        output("flow"),
        output("pools", 1, 10, "flow"),
        output("refined", 1, 10, "flow", "pools", needed="s (died)"),
    ]
    decisions = decide([*items, output("free")], EVERYTHING)
    assert dropped(decisions) == ["free"]
    assert reason(decisions, "refined") == "s (died)"
    assert reason(decisions, "flow") == "refined, which stays, was computed from it"


def test_an_output_goes_only_after_everything_computed_from_it():
    items = [output("flow", 1, 90), output("pools", 1, 50, "flow"), output("other", 1, 10, "flow")]
    assert dropped(decide(items, EVERYTHING)) == ["pools", "other", "flow"]
    assert dropped(decide(items, Limits(budget_bytes=2))) == ["pools"]
    assert dropped(decide(items, Limits(older_than_s=30 * DAY_S))) == ["pools"]


def test_leftovers_and_checkpoints_go_before_stage_outputs_and_count_towards_the_budget():
    left = Item("leftover", "aside/x", "aside/x", 5, 2 * DAY_S)
    fresh = Item("leftover", "aside/y", "aside/y", 5, 0.5 * DAY_S)
    step = Item("checkpoint", "step-1", "step-1", 5, 60.0)
    last = Item("checkpoint", "step-2", "step-2", 5, 60.0, needed="the last one")
    items = [output("a", 5), output("b", 5, 20), step, last, left, fresh]
    assert dropped(decide(items, Limits())) == ["aside/x", "step-1"]
    assert dropped(decide(items, Limits(budget_bytes=20))) == ["aside/x", "step-1"]
    assert dropped(decide(items, Limits(budget_bytes=19))) == ["aside/x", "step-1", "b"]


def test_no_needed_item_and_no_ancestor_of_one_ever_goes():
    draw = random.Random(0)
    for _ in range(200):
        items = [
            output(
                str(n), draw.randint(1, 9), draw.random() * 40, *map(str, range(n) if n and draw.random() < 0.2 else draw.sample(range(n), min(n, 2))),
                needed="yes" if draw.random() < 0.2 else "",
            )
            for n in range(12)
        ]  # fmt: skip
        limits = Limits(draw.choice([None, 0, 20]), draw.choice([None, 10 * DAY_S]))
        decisions = decide(items, limits)
        gone = set(dropped(decisions))
        assert sorted(d.item.name for d in decisions) == sorted(item.name for item in items)
        for item in items:
            if item.name not in gone:
                assert not gone & set(item.upstream)
        assert not gone & {item.name for item in items if item.needed}


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GiB", 20 * GIB), ("1.5 gib", 3 * GIB // 2), ("500MiB", 500 * 2**20), ("0B", 0), ("2tib", 2**41)],
)
def test_a_budget_is_a_size_with_a_unit(text, size):
    assert parse_budget(text) == size


@pytest.mark.parametrize(
    "text", ["20", "", "GiB", "-1GiB", "20GB", "1e3GiB", "nanGiB", "20GiB!", "20 Gi B", "٢GiB"]
)
def test_any_other_budget_is_refused_with_the_rule(text):
    with pytest.raises(UserError, match="must be a size with a unit: B, KiB, MiB, GiB or TiB") as refused:
        parse_budget(text)
    assert refused.value.key == "--budget"


def test_an_age_is_a_time_with_a_unit():
    assert [parse_age(text) for text in ("30d", "12h", "90m", "1.5w")] == [
        30 * DAY_S,
        12 * HOUR_S,
        5400,
        10.5 * DAY_S,
    ]
    for text in ("30", "d", "-1d", "30 years", "30s"):
        with pytest.raises(UserError, match="must be a time with a unit"):
            parse_age(text)
    assert [age(s) for s in (-3, 59, 61, 7200, 3 * DAY_S)] == ["0 s", "59 s", "1 min", "2 h", "3 d"]
