"""What README and docs/ say exists: every linked file, every command and option, every benchmark and test named."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer.main
from flowsweep.platform.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

_LINK = re.compile(
    r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)|<img[^>]+src=\"([^\"]+)\"", re.M
)
_FENCE = re.compile(r"^ *```.*?^ *```", re.M | re.S)
_CODE = re.compile(r"^ *```[^\n]*\n(.*?)^ *```|`([^`\n]+)`", re.M | re.S)
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_|.]*|\.{3}|…|\[.*|.*\||<.*")


def links(text: str) -> list[str]:
    found = [next(filter(None, groups)) for groups in _LINK.findall(_FENCE.sub("", text))]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def commands(text: str) -> Iterator[list[str]]:
    """The words after ``flowsweep`` of every command line in code, comments and what follows a pipe left out."""
    for block, inline in _CODE.findall(text):
        for line in (block or inline).replace("\\\n", " ").splitlines():
            if match := re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?flowsweep(?: (.*))?$", line):
                yield _words(match[1] or "")


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = line.split()
    ends = [index for index, word in enumerate(words) if word in {"|", ">", "&&", ";", "&"}]
    return words[: ends[0]] if ends else words


def benchmarks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Script and options of every benchmark named in code."""
    for block, inline in _CODE.findall(text):
        for line in (block or inline).replace("\\\n", " ").splitlines():
            if match := re.search(r"python (benchmarks/\w+\.py)(.*)", line):
                yield match[1], re.findall(r" (--[\w-]+)", match[2])


def source(script: Path) -> str:
    """Text of a benchmark and of those beside it that it imports from."""
    own = script.read_text()
    beside = [script.parent / f"{name}.py" for name in re.findall(r"^from (\w+) import", own, re.M)]
    return own + "".join(file.read_text() for file in beside if file.exists())


def mistake(words: list[str]) -> str | None:
    """What is wrong with a command line: a command or an option that does not exist."""
    command: Any = typer.main.get_command(app)
    known = _options(command)
    path = "flowsweep"
    for word in words:
        if word.startswith("-"):
            if word.partition("=")[0] not in known:
                return f"{path} has no option {word}"
        elif hasattr(command, "commands"):
            if _PLACEHOLDER.fullmatch(word):
                return None
            if word not in command.commands:
                return f"{path} has no command {word}"
            command, path = command.commands[word], f"{path} {word}"
            known = _options(command)
    return None


def _options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts} | {
        "--help",
        "-h",
    }


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+\s+(.*)$", _FENCE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_there_is_something_to_read():
    assert ROOT / "README.md" in PAGES
    assert len(PAGES) > 1


@EACH_PAGE
def test_every_link_leads_somewhere(page):
    for link in links(page.read_text()):
        file, _, anchor = unquote(link).partition("#")
        target = (page.parent / file) if file else page
        assert target.exists(), f"{link} is missing"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: no such heading"


@EACH_PAGE
def test_every_command_named_exists(page):
    mistakes = [found for words in commands(page.read_text()) if (found := mistake(words))]
    assert not mistakes


@EACH_PAGE
def test_every_make_target_named_exists(page):
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    code = "\n".join(block or inline for block, inline in _CODE.findall(page.read_text()))
    named = set(re.findall(r"^\s*(?:\$ )?make ([a-z][\w-]*)", code, re.M))
    assert named <= targets


@EACH_PAGE
def test_every_benchmark_named_takes_its_options(page):
    mistakes = [
        f"{script} has no option {option}"
        for script, options in benchmarks(page.read_text())
        for option in options
        if f'"{option}"' not in source(ROOT / script)
    ]
    assert not mistakes


def test_every_benchmark_is_on_the_list_of_benchmarks():
    listed = (ROOT / "benchmarks" / "README.md").read_text()
    scripts = [file for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text()]
    assert not [file.name for file in scripts if f"benchmarks/{file.name}" not in listed]


@EACH_PAGE
def test_every_test_named_by_its_beginning_exists(page):
    named = re.findall(r"`([a-z_]+)…`", page.read_text())
    written = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py")) if named else ""
    assert not [name for name in named if f"def test_{name}" not in written]


def test_the_reader_of_pages_finds_what_is_wrong():
    text = "[a](x.md) [b](https://h/y) `flowsweep runn a.yaml`\n```\n$ flowsweep submit a.yaml --adress x | cat\n```\n"
    assert links(text) == ["x.md"]
    assert [mistake(words) for words in commands(text)] == [
        "flowsweep has no command runn",
        "flowsweep submit has no option --adress",
    ]
    assert list(benchmarks("`TMPDIR=/x python benchmarks/a.py --rounds 2 B --json`")) == [
        ("benchmarks/a.py", ["--rounds", "--json"])
    ]
    assert mistake(["submit", "SWEEP.yaml", "--address", "http://HOST:8265"]) is None
