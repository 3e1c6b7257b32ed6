"""Sweep files made wrong on purpose: by a seed, one or two changes to the values or to the text of one that is right."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 100, 0.5, -0.5, 1e-12, 1e-300, 1e12, 1e308, -1e308, float("nan"), float("inf"),
    2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**30, "", " ", "x", "0", "1e3", "null", "[/bold]x", "../up",
    "/dev/null", "a" * 5000, "\u2603", "ref\u0000x", "s3://", "http://", "a/b", [], [[]], [0], [0, 0], [1, 1.0], ["a"],
    [None], {}, {"a": 1}, {"low": 1, "high": 0}, {"values": [1, 2]}, {"low": 0, "high": 1, "log": True},
)  # fmt: skip
SCRAPS = "{}[]:,-#&*!|>'\"%@`?~<=\t \n0\u00e9\u0000\u2028"
LINES = (
    "a: &a [*a]",
    "<<: 5",
    "? [1, 2]\n: 3",
    "name: {{ NAME }}",
    "on: off",
    "x: !!int abc",
    "search: 010",
    "- 1",
    "---",
)


def mutated(text: str, values: Mapping[str, Any], seed: int, write: Any) -> str:
    """One wrong file.

    Args:
        text: the file that is right.
        values: what it holds.
        write: makes a file of values.
    """
    dice = random.Random(seed)
    if dice.random() < 0.25:
        for _ in range(dice.choice((1, 1, 2))):
            text = _scratched(text, dice)
        return text
    changed = copy.deepcopy(dict(values))
    for _ in range(dice.choice((1, 1, 1, 2))):
        _change(changed, dice)
    return write(changed)


def _scratched(text: str, dice: random.Random) -> str:
    lines = text.split("\n")
    at, row = dice.randrange(len(text)), dice.randrange(len(lines))
    kind = dice.randrange(7)
    if kind == 0:
        return text[:at] + text[at + dice.randrange(1, 4) :]
    if kind == 1:
        return text[:at] + dice.choice(SCRAPS) + text[at:]
    if kind == 2:
        return text[:at]
    if kind == 3:
        lines.insert(row, lines[dice.randrange(len(lines))])
    elif kind == 4:
        del lines[row]
    elif kind == 5:
        lines[row] = " " * dice.randrange(1, 4) + lines[row]
    else:
        lines.insert(row, dice.choice(LINES))
    return "\n".join(lines)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys or indices."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


def _change(values: dict[str, Any], dice: random.Random) -> None:
    places = list(_places(values))
    if not places:
        values["x"] = 1
        return
    node, key = dice.choice(places)
    kind = dice.randrange(8)
    if kind < 3:
        node[key] = copy.deepcopy(dice.choice(ODD))
    elif kind == 3:
        del node[key]
    elif kind == 4 and isinstance(node, dict):
        spot = dice.randrange(len(key) or 1)
        node[key[:spot] + dice.choice(("", "q", key[spot : spot + 1] * 2)) + key[spot + 1 :]] = node.pop(key)
    elif kind == 5:
        other, its = dice.choice(places)
        node[key] = copy.deepcopy(other[its])
    elif kind == 6 and isinstance(node[key], int | float) and not isinstance(node[key], bool):
        node[key] = dice.choice(
            (-node[key], node[key] * 10**6, node[key] / 10**6, node[key] + 0.5, node[key] + 1)
        )
    elif isinstance(node, dict):
        node[dice.choice(("x", "seed", "steps", "low", "values", "stages", "when"))] = dice.choice(ODD)
    else:
        node.append(dice.choice(ODD))
