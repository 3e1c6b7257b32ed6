"""YAML that somebody else may have written, read strictly: the core schema of YAML 1.2, each value with its place.

Of PyYAML only the scanner and the parser are used, up to their events; none of its constructors runs, so that a tag makes
no object, and what they choke on (dates, `!!int abc`, integers of thousands of digits) is told in one line. Values are
those of the core schema (https://yaml.org/spec/1.2.2/#103-core-schema), and merge keys work. What YAML 1.1 reads as
something else than 1.2 does (`010`, `1:30`, `yes`, `1_000`) is refused. Limits hold before anything is built from a
file, with aliases counted as often as they are used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from yaml.events import AliasEvent, MappingEndEvent, ScalarEvent, SequenceEndEvent, SequenceStartEvent

from ..errors import UserError

MOST_BYTES = 1 << 18
"""A file that is longer is refused unread."""
MOST_NODES = 20_000
"""Values of a file, each alias counted as what it stands for."""
MOST_DEPTH = 32
"""Mappings and lists within each other."""
MOST_DIGITS = 40
"""Digits of an integer."""

NULL = re.compile(r"null|Null|NULL|~|")
TRUE, FALSE = re.compile(r"true|True|TRUE"), re.compile(r"false|False|FALSE")
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
AMBIGUOUS = (
    (re.compile(r"yes|Yes|YES|on|On|ON"), "as true and as text", "Write `true`, or put it in quotes."),
    (re.compile(r"no|No|NO|off|Off|OFF"), "as false and as text", "Write `false`, or put it in quotes."),
    (
        re.compile(r"[-+]?0[0-9]+"),
        "as octal and as decimal",
        "Write it without the zero in front (octal as `0o17`), or put it in quotes.",
    ),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"),
        "as a count of sixties and as text",
        "Write a plain number, or put it in quotes.",
    ),
    (
        re.compile(r"[-+]?([0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?|0b[01_]+|0x[0-9a-fA-F_]*_[0-9a-fA-F_]*)"),
        "as a number and as text",
        "Write plain digits, or put it in quotes.",
    ),
)
"""Plain text that YAML 1.1 and 1.2 read differently: its form, how it is read, and the ways out."""
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
TAG = "tag:yaml.org,2002:"
KINDS = {str: "str", bool: "bool", int: "int", float: "float", type(None): "null", dict: "map", list: "seq"}
TEMPLATE = "It looks like a template that was not filled in; fill it in, or put it in quotes."


@dataclass(frozen=True)
class Node:
    """A value and where it stands.

    Attributes:
        line, column: where it begins, from 1; of a value in a mapping where its key does.
        parts: the values within, by key or index.
        size: values within, aliases counted as what they stand for, and itself.
    """

    value: Any
    line: int
    column: int
    parts: Mapping[Any, Node] = field(default_factory=dict)
    size: int = 1


def compose(text: str, where: str) -> Node | None:
    """The one document of a text; None where there is none.

    Args:
        where: what the text is from, for messages.

    Raises:
        UserError: in one line, with the place (``where:line:column``).
    """
    if len(text.encode(errors="replace")) > MOST_BYTES:
        raise UserError(f"is longer than the {MOST_BYTES // 1024} KiB that are read", key=where)
    return _Composer(text, where).document()


class _Composer:
    def __init__(self, text: str, where: str):
        self._text, self._where = text, where
        self._loader: yaml.SafeLoader | None = None
        self._anchors: dict[str, Node | None] = {}
        self._seen = 0

    def document(self) -> Node | None:
        self._next()  # the stream
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        node = self._node(self._next(), 1)
        self._next()  # the document's end
        if not isinstance(event := self._next(), yaml.StreamEndEvent):
            raise self._mistake(event.start_mark, "a second document begins here", "Keep one in a file.")
        return node

    def _next(self) -> Any:
        try:
            self._loader = self._loader or yaml.SafeLoader(self._text)
            return self._loader.get_event()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = " ".join(str(error.problem or error.context or "").split())
            raise self._mistake(mark, f"is not valid YAML: {said}", self._template(mark)) from None
        except yaml.reader.ReaderError as error:
            before = self._text[: error.position]
            place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
            raise self._at(*place, f"the character U+{error.character:04X} may not stand here") from None
        except (yaml.YAMLError, ValueError, ArithmeticError, AttributeError, TypeError) as error:
            mark = self._loader.get_mark() if self._loader else None
            raise self._mistake(mark, f"is not valid YAML: {' '.join(str(error).split())}") from None

    def _node(self, event: Any, depth: int) -> Node:
        mark = event.start_mark
        if isinstance(event, AliasEvent):
            return self._aliased(event)
        if depth > MOST_DEPTH:
            raise self._mistake(mark, f"is nested deeper than {MOST_DEPTH} levels")
        if event.anchor:
            self._anchors[event.anchor] = None  # known, and not complete yet
        self._count(mark, 1)
        if isinstance(event, ScalarEvent):
            node = Node(self._scalar(event), mark.line + 1, mark.column + 1)
        elif isinstance(event, SequenceStartEvent):
            node = self._list(mark, depth)
        else:
            node = self._mapping(mark, depth)
        if event.tag and not isinstance(event, ScalarEvent):
            self._check_tag(event, node.value)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _aliased(self, event: AliasEvent) -> Node:
        if event.anchor not in self._anchors:
            raise self._mistake(event.start_mark, f"`*{event.anchor}` stands for nothing before it")
        if (node := self._anchors[event.anchor]) is None:
            raise self._mistake(event.start_mark, f"`*{event.anchor}` stands within what it stands for")
        self._count(event.start_mark, node.size)
        return node

    def _count(self, mark: Any, size: int) -> None:
        self._seen += size
        if self._seen > MOST_NODES:
            fix = "Aliases count as what they stand for."
            raise self._mistake(mark, f"there are more than {MOST_NODES:,} values up to here", fix)

    def _list(self, mark: Any, depth: int) -> Node:
        nodes = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            nodes.append(self._node(event, depth + 1))
        return _collected([node.value for node in nodes], mark, dict(enumerate(nodes)))

    def _mapping(self, mark: Any, depth: int) -> Node:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        marks: dict[str, Any] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._key(event, depth)
            if key in marks:
                first = marks[key].line + 1
                raise self._mistake(event.start_mark, f"key `{key}` appears twice (first in line {first})")
            marks[key] = event.start_mark
            value = self._next()
            node = self._node(value, depth + 1)
            if key == "<<" and getattr(event, "style", "") is None:
                merged = self._merged(node, value.start_mark)
            else:
                own[key] = replace(node, line=marks[key].line + 1, column=marks[key].column + 1)
        parts = own | {key: node for key, node in merged.items() if key not in own}
        return _collected({key: node.value for key, node in parts.items()}, mark, parts)

    def _merged(self, node: Node, mark: Any) -> dict[str, Node]:
        """What a merge key brings; of several mappings the first that has a key gives it."""
        several = [node] if isinstance(node.value, dict) else list(node.parts.values())
        if not several or not all(isinstance(one.value, dict) for one in several):
            raise self._mistake(mark, "a merge key (`<<`) takes a mapping or a list of mappings")
        found: dict[str, Node] = {}
        for one in several:
            found = {**one.parts, **found}
        return found

    def _key(self, event: Any, depth: int) -> str:
        if isinstance(event, AliasEvent):
            value = self._aliased(event).value
        elif isinstance(event, ScalarEvent):
            value = self._node(event, depth + 1).value
        else:
            fix = self._template(event.start_mark)
            raise self._mistake(event.start_mark, "a key must be text, not a mapping or a list", fix)
        if isinstance(value, str):
            return value
        shown = getattr(event, "value", "") or "null"
        raise self._mistake(
            event.start_mark,
            f"a key must be text, and `{shown[:40]}` is none",
            "Put it in quotes if it is meant.",
        )

    def _scalar(self, event: ScalarEvent) -> Any:
        if found := UNPRINTABLE.search(event.value):
            problem = f"holds the control character U+{ord(found[0]):04X}"
            raise self._mistake(event.start_mark, problem)
        as_text = event.tag in ("!", f"{TAG}str") or (event.tag is None and event.style is not None)
        value = event.value if as_text else self._plain(event)
        if event.tag:
            self._check_tag(event, value)
        return value

    def _plain(self, event: ScalarEvent) -> Any:
        text = event.value
        for form, how, fix in AMBIGUOUS:
            if form.fullmatch(text):
                raise self._mistake(
                    event.start_mark, f"`{text[:40]}` is read both {how}, by version of YAML", fix
                )
        if NULL.fullmatch(text):
            return None
        if TRUE.fullmatch(text):
            return True
        if FALSE.fullmatch(text):
            return False
        if INTEGER.fullmatch(text):
            if len(text) > MOST_DIGITS:
                raise self._mistake(event.start_mark, f"is an integer of more than {MOST_DIGITS} digits")
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if FLOAT.fullmatch(text):
            value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
            if math.isinf(value) and "inf" not in text.lower():
                raise self._mistake(event.start_mark, f"`{text[:40]}` is larger than a number can be")
            return value
        return text

    def _check_tag(self, event: Any, value: Any) -> None:
        """Refuse a tag that is not of the core schema, or not what the value is."""
        kind = (event.tag or "").removeprefix(TAG)
        allowed = {KINDS[type(value)], *(("float",) if type(value) is int else ())}
        if event.tag != "!" and kind not in allowed:
            shown = f"!!{kind}" if event.tag.startswith(TAG) else event.tag
            fix = "Nothing that comes from a file runs code; write the value without a tag."
            raise self._mistake(event.start_mark, f"is not valid YAML here: the tag `{shown[:60]}`", fix)

    def _template(self, mark: Any) -> str | None:
        """A hint where the line holds what a template would fill in."""
        lines = self._text.splitlines()
        line = lines[mark.line] if mark and mark.line < len(lines) else ""
        return TEMPLATE if "{{" in line or "{%" in line else None

    def _mistake(self, mark: Any, problem: str, fix: str | None = None) -> UserError:
        if mark is None:
            return UserError(problem, key=self._where, fix=fix)
        return self._at(mark.line + 1, mark.column + 1, problem, fix)

    def _at(self, line: int, column: int, problem: str, fix: str | None = None) -> UserError:
        return UserError(problem, key=f"{self._where}:{line}:{column}", fix=fix)


def _collected(value: Any, mark: Any, parts: Mapping[Any, Node]) -> Node:
    size = 1 + sum(node.size for node in parts.values())
    return Node(value, mark.line + 1, mark.column + 1, parts, size)


def node_of(root: Node, key: str) -> Node | None:
    """The value that a dotted key names; keys may hold dots themselves."""
    parts = key.split(".")
    for size in range(len(parts), 0, -1):
        name = ".".join(parts[:size])
        found = root.parts.get(name) or (root.parts.get(int(name)) if name.isdecimal() else None)
        if found is not None:
            return node_of(found, ".".join(parts[size:])) if size < len(parts) else found
    return None
