"""Which room may know which, held by reading every source file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("platform", "trainables", "search_spaces", "cluster")
FILE_LINES, FUNCTION_LINES = 500, 60

# file, or file::function, and why it may be longer
LONGER: dict[str, str] = {}


@dataclass(frozen=True)
class Source:
    """One module: its path from the root and its syntax tree."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.path.parts[0] if len(self.path.parts) > 1 else ""

    @property
    def package(self) -> tuple[str, ...]:
        return ("flowsweep", *self.path.parts[:-1])


@dataclass(frozen=True)
class Import:
    """One imported module, absolute, whether it was written relative, and whether it runs on import."""

    module: str
    relative: bool
    at_import: bool
    line: int


@cache
def sources() -> tuple[Source, ...]:
    paths = [
        *sorted(ROOT.glob("*.py")),
        *(file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))),
    ]
    texts = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in paths}
    return tuple(Source(path, text, ast.parse(text, str(path))) for path, text in texts.items())


def in_room(room: str) -> list[Source]:
    found = [source for source in sources() if source.room == room]
    assert found, f"{room}/ holds no Python file"
    return found


def imports(source: Source) -> Iterator[Import]:
    for node, at_import in _walk(source.tree, True):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, False, at_import, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(source, node)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.level > 0, at_import, node.lineno)


def _walk(node: ast.AST, at_import: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        inside = at_import and not deferred and not _is_type_checking(child)
        yield child, inside
        yield from _walk(child, inside)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    base = source.package[: len(source.package) - node.level + 1]
    return ".".join((*base, *([node.module] if node.module else [])))


def names_room(module: str, *rooms: str) -> bool:
    return any(module == f"flowsweep.{room}" or module.startswith(f"flowsweep.{room}.") for room in rooms)


def offences(found: Iterator[tuple[Source, int, str]]) -> str:
    return "\n".join(f"{source.path}:{line}: {what}" for source, line, what in found)


@cache
def systems() -> list[str]:
    """Every word that names a method: registered systems, folders of one system, and those to come."""
    folders = {path.parent.name for path in (ROOT / "trainables").glob("*/*.py")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    registered = project["project"]["entry-points"]["flowsweep.systems"]
    return sorted((folders - {"data", "envs", "baselines", "user_code"}) | set(registered) | {"algd", "rdps"})


def test_trainables_know_no_other_room():
    assert not offences(
        (source, item.line, item.module)
        for source in in_room("trainables")
        for item in imports(source)
        if names_room(item.module, "platform", "search_spaces", "cluster")
    )


def test_search_spaces_know_neither_the_platform_nor_the_cluster():
    assert not offences(
        (source, item.line, item.module)
        for source in in_room("search_spaces")
        for item in imports(source)
        if names_room(item.module, "platform", "cluster")
    )


def test_the_cluster_is_reached_from_the_command_line_and_the_python_interface_alone():
    assert not offences(
        (source, item.line, item.module)
        for source in sources()
        if source.path.parts[:2] not in {("platform", "cli"), ("platform", "api.py")}
        and source.room != "cluster"
        for item in imports(source)
        if names_room(item.module, "cluster")
    )


def test_the_journal_knows_nothing_of_the_platform_but_paths_and_errors():
    assert not offences(
        (source, item.line, item.module)
        for source in sources()
        if source.path.parts[:2] == ("platform", "journal")
        for item in imports(source)
        if names_room(item.module, "platform")
        and not names_room(item.module, "platform.journal", "platform.paths", "platform.errors")
    )


def test_events_are_told_apart_by_their_type_and_not_by_words():
    """A word that is misspelt matches nothing and is never noticed; a class that is not there is."""
    from flowsweep.platform.journal.events import EVENTS

    assert not offences(
        (source, node.lineno, ast.unparse(node))
        for room in ("platform", "cluster")
        for source in in_room(room)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Compare)
        and isinstance(node.left, ast.Attribute)
        and node.left.attr == "kind"
        and any(isinstance(n, ast.Constant) and n.value in EVENTS for n in ast.walk(node))
        and not ast.unparse(node).startswith(
            ("item.kind", "decision.item.kind", "left.kind", "incident.kind")
        )
    )


def test_nothing_but_the_command_line_imports_the_command_line():
    assert not offences(
        (source, item.line, item.module)
        for source in sources()
        if source.path.parts[:2] != ("platform", "cli")
        for item in imports(source)
        if names_room(item.module, "platform.cli")
    )


def test_the_platform_names_no_system():
    assert not offences(
        (source, line, word)
        for source in in_room("platform")
        for line, word in _words(source.tree)
        for system in systems()
        if re.search(rf"(?<![a-z]){re.escape(system)}(?![a-z])", word.lower())
    )


def _words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Identifiers, imported names and text, docstrings included."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for name in ("id", "attr", "arg", "name", "module", "value"):
            if isinstance(word := getattr(node, name, None), str):
                yield line, word


def test_the_platform_loads_no_torch():
    assert not offences(
        (source, item.line, item.module)
        for source in in_room("platform")
        for item in imports(source)
        if item.at_import and item.module.split(".")[0] == "torch"
    )


def test_imports_inside_the_package_are_relative():
    assert not offences(
        (source, item.line, item.module)
        for source in sources()
        for item in imports(source)
        if item.module.split(".")[0] == "flowsweep" and not item.relative
    )


def test_every_file_says_what_it_is_for():
    unsaid = [source.path for source in sources() if not (ast.get_docstring(source.tree) or "").strip()]
    assert not [str(path) for path in unsaid]


def test_files_and_functions_stay_short():
    long = {str(s.path): n for s in sources() if (n := len(s.text.splitlines())) > FILE_LINES}
    long |= {
        f"{source.path}::{node.name}": lines
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := _body_lines(node)) > FUNCTION_LINES
    }
    assert not {where: lines for where, lines in long.items() if where not in LONGER}
    assert not [where for where in LONGER if where not in long], (
        "these are short again; take them off the list"
    )


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its decorators, signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize(
    "module", ["platform.sweep.spec", "platform.sweep.plan", "platform.cli", "trainables.base"]
)
def test_reading_and_planning_a_sweep_loads_no_torch(module):
    code = f"import sys, flowsweep.{module}; print('torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "False"], "torch, ray loaded"


def test_the_platform_room_does_not_hide_pythons_own_module():
    code = "import platform; print(platform.system())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in {"Linux", "Darwin"}
    assert not (ROOT / "platform" / "__init__.py").exists()
