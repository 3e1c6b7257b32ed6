"""The careful reader: what of a file somebody else wrote is taken, and that all else ends in one line with its place."""

from __future__ import annotations

import random
import time

import pytest
from flowsweep.platform.sweep.spec import load_spec
from flowsweep.platform.sweep.yaml_file import dump_yaml, parse_yaml, read_yaml
from flowsweep.platform.sweep.yaml_reader import MOST_BYTES, MOST_DEPTH
from flowsweep.trainables.errors import UserError

HEAD = "name: case\nsystem: rehearsal\ndataset: rehearsal/points\nobjective: {metric: refine/return}\n"


def refusal(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "case.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10), ("-3", -3), ("0o17", 15), ("0x1F", 31), ("0", 0), ("3e-4", 3e-4), ("1.", 1.0), (".5", 0.5),
        ("-.inf", -float("inf")), ("true", True), ("False", False), ("~", None), ("", None), ("null", None),
        ("'010'", "010"), ('"yes"', "yes"), ("y", "y"), ("2026-13-45", "2026-13-45"), ("2026-01-02", "2026-01-02"),
        ("1.2.3", "1.2.3"), ("a: b", {"a": "b"}), ("[1, a]", [1, "a"]), ("!!str 5", "5"), ("! 5", "5"),
        ("!!float 5", 5), ("=", "="), ("+.5", 0.5), ("-", [None]),
    ],
)  # fmt: skip
def test_plain_values_are_those_of_the_core_schema(text, value):
    found = parse_yaml(text, "x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("010", "quotes"), ("-007", "0o17"), ("1:30", "quotes"), ("190:20:30.15", "quotes"), ("1_000", "plain digits"),
        ("0b11", "quotes"), ("0x_1f", "quotes"), ("yes", "`true`"), ("Off", "`false`"),
    ],
)  # fmt: skip
def test_what_two_versions_of_yaml_read_differently_is_refused(text, way_out):
    message = refusal(f"a: {text}")
    assert message.startswith(f"case.yaml:1:4: `{text}` is read both ")
    assert way_out in message


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("a: !!int abc", "1:4", "tag `!!int`"),
        ("a: !!timestamp 2026-01-01", "1:4", "tag `!!timestamp`"),
        ("a: !!python/object/apply:os.system ['true']", "1:4", "tag `!!python"),
        ("a: !mine {b: 1}", "1:4", "tag `!mine`"),
        ("a: " + "9" * 5000, "1:4", "40 digits"),
        ("a: 1e999", "1:4", "larger than a number"),
        ("1: a", "1:1", "key must be text"),
        ("null: a", "1:1", "key must be text"),
        ("a:\n  true: b", "2:3", "key must be text"),
        ("? [a, b]\n: c", "1:3", "key must be text"),
        ("a: {low: {{LOW}}, high: 1}", "1:11", "template"),
        ("a: {{ x }}", "1:5", "template"),
        ("a: 1\n{% if b %}\nc: 2", "2:2", "template"),
        ("a: &x [1, *x]", "1:11", "stands within what it stands for"),
        ("a: &x {b: *x}", "1:11", "stands within what it stands for"),
        ("a: *nowhere", "1:4", "stands for nothing"),
        ("a: 1\nb: 2\na: 3", "3:1", "appears twice (first in line 1)"),
        ("a: {<<: 5}", "1:9", "merge key"),
        ("a: 1\n---\nb: 2", "2:1", "second document"),
        ("a: [1", "1:6", "not valid YAML"),
        ("a: 'b", "1:6", "not valid YAML"),
        ("a:\tb\n\tc: d", "1:3", "not valid YAML"),
        ('a: "\\ud800"', "1:4", "control character U+D800"),
        ('a: "\\e[2J"', "1:4", "control character U+001B"),
        ('a: "\\U00110000"', "1:7", "not valid YAML"),
        ("a: b\x00", "1:5", "U+0000"),
        ("a: @b", "1:4", "not valid YAML"),
        ("%YAML 3.0\n---\na: 1", "1:1", "not valid YAML"),
    ],
)
def test_whatever_is_wrong_is_told_in_one_line_with_its_place(text, place, word):
    message = refusal(text)
    assert "\n" not in message
    assert message.startswith(f"case.yaml:{place}: ")
    assert word in message


def test_nested_anchors_end_at_once():
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    begun = time.process_time()
    message = refusal("\n".join(levels))
    assert "more than 20,000 values" in message
    assert message.startswith("case.yaml:5:")
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[" * 100_000, f"deeper than {MOST_DEPTH} levels"),
        ("{a: " * 20_000, f"deeper than {MOST_DEPTH} levels"),
        ("- a\n" * 30_000, "more than 20,000 values"),
        ("#" * (MOST_BYTES + 1), "longer than the 256 KiB"),
    ],
)
def test_size_and_depth_are_limited(text, word):
    begun = time.process_time()
    assert word in refusal(text)
    assert time.process_time() - begun < 20


def test_a_file_that_is_no_text_or_too_long_is_refused_unread(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_bytes(b"name: a\nsystem: \xff\n")
    with pytest.raises(UserError, match=r"s\.yaml:2:9: is not text in UTF-8"):
        read_yaml(file)
    file.write_bytes(b"a" * (MOST_BYTES + 10))
    with pytest.raises(UserError, match="longer than the 256 KiB"):
        read_yaml(file)
    file.write_text("- a\n- b\n")
    with pytest.raises(UserError, match=r"s\.yaml:1:1: must hold `key: value` lines"):
        read_yaml(file)
    file.write_text("\ufeffname: a\n", encoding="utf-8")
    assert read_yaml(file) == {"name": "a"}


def test_merge_keys_work(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(
        HEAD
        + "space: {refine.rate: &r {low: 0.01, high: 1.0, log: true}, refine.goal: {<<: *r, high: 0.5}}\n"
    )
    space = load_spec(file).space
    assert (space["refine.goal"].low, space["refine.goal"].high, space["refine.goal"].log) == (
        0.01,
        0.5,
        True,
    )
    several = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {z: 3, <<: [*a, *b]}"
    assert parse_yaml(several, "x")["c"] == {"x": 1, "y": 1, "z": 3}
    assert parse_yaml("{'<<': 5}", "x") == {"<<": 5}


@pytest.mark.parametrize(
    ("line", "place", "word"),
    [
        ("search: {trials: 010}", "5:18", "octal"),
        ("search: {trials: 1:30}", "5:18", "sixties"),
        ("search: {trials: 0}", "5:10", "search.trials: should be greater than 0"),
        ("seeds:\n  tune: [0, -1]", "5:1", "seeds: seeds must lie in 0"),
        ("space: {refine.rate: {values: [0.1, null]}}", "5:37", "must be text, a number, `true` or `false`"),
        ("space: {refine.rate: {values: [[1], 2]}}", "5:32", "must be text, a number, `true` or `false`"),
        ("space: {refine.rate: {values: null}}", "5:23", "space.refine.rate.values"),
        ("space: {refine.rate: {low: .nan, high: 1}}", "5:23", "finite number"),
        ("resources: {cpus: .inf}", "5:13", "finite number"),
        ("preset: 5", "5:1", "Put it in quotes"),
        ("space: {refine.rate: {low: 0, high: 9223372036854775808}}", "5:31", "beyond 63 bits"),
        ("serch: {}", "5:1", "Did you mean `search`?"),
    ],
)
def test_a_mistake_in_a_sweep_file_is_told_with_its_place_and_key(tmp_path, line, place, word):
    file = tmp_path / "s.yaml"
    file.write_text(f"{HEAD}{line}\n")
    with pytest.raises(UserError) as caught:
        load_spec(file)
    assert str(caught.value).startswith(f"{file}:{place}: ")
    assert word in str(caught.value)


TEXTS = ["010", "1:30", "yes", "NO", "3e-4", "0o17", "null", "~", "", " a ", "#", "a: b", "- a", "1_0", "é☃", "'", '"',
         "2026-01-02", "<<", "=", "*a", "&a", "!x", "%", "@", "a\nb", "a\tb", "{{x}}", "0x1F", ".inf", "1e5", "-"]  # fmt: skip


def _value(dice: random.Random, depth: int):
    kind = dice.randrange(7 if depth else 5)
    if kind == 0:
        return dice.choice(TEXTS)
    if kind == 1:
        return dice.choice([0, -1, 7, 2**62, -(2**63) + 1])
    if kind == 2:
        return dice.choice([0.0, 3e-4, -1e300, 5e-324, float("inf"), 1 / 3])
    if kind == 3:
        return dice.choice([True, False, None])
    if kind == 4:
        return "".join(chr(dice.randrange(32, 126)) for _ in range(dice.randrange(9)))
    if kind == 5:
        return [_value(dice, depth - 1) for _ in range(dice.randrange(4))]
    return {dice.choice(TEXTS): _value(dice, depth - 1) for _ in range(dice.randrange(4))}


@pytest.mark.parametrize("seed", range(20))
def test_what_is_written_is_read_as_it_was(seed):
    dice = random.Random(seed)
    for _ in range(20):
        value = {"a": _value(dice, 3)}
        assert parse_yaml(dump_yaml(value), "x") == value
