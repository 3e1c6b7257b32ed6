"""What a system computes with, as digests of its source: comments, docstrings and layout do not count."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .base import System

LENGTH = 16  # hex digits kept of each digest; they are compared, not defended against forgery


def system_code(system: System) -> dict[str, Any]:
    """Versions of a system's stages, and a digest of every module they are made of.

    These are the modules that define the stages, and all those import from the same package, also inside functions,
    since learners are often loaded late; of a file of the user's own that file and the local modules it imports.
    """
    own = {module.file: module for module in system.code.modules} if system.code else {}
    modules: dict[str, str] = dict(system.code.digests) if system.code else {}
    waiting = [type(stage).__module__ for stage in system.stages]
    waiting = [name for name in waiting if str(_file_loaded(name)) not in own]
    tops = {_top(module) for module in waiting}
    while waiting:
        module = waiting.pop()
        if module not in modules and _top(module) in tops and (file := _file(module)):
            modules[module] = source_digest(file.read_text(encoding="utf-8"))
            waiting += _imported(file, module)
    versions = {stage.name: stage.version for stage in system.stages}
    return {"versions": versions, "modules": dict(sorted(modules.items()))}


def code_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed between two of :func:`system_code`, in words."""
    found = [
        f"stage {name}: version {then['versions'].get(name)} then, {version} now"
        for name, version in now["versions"].items()
        if then["versions"].get(name) != version
    ]
    names = sorted({*then["modules"], *now["modules"]})
    changed = [name for name in names if then["modules"].get(name) != now["modules"].get(name)]
    return [*found, *([f"code of {', '.join(changed)}"] if changed else [])]


def _top(module: str) -> str:
    """The package whose modules count: of flowsweep the room of systems, of any other distribution all of it."""
    return ".".join(module.split(".")[: 2 if module.startswith("flowsweep.") else 1])


def _file_loaded(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)


def _file(module: str) -> Path | None:
    """Where a module's source lies, found without importing it; None when the name is no module."""
    top = _top(module)
    root = _root(top)
    if root is None or module == top:
        return root
    path = root.parent.joinpath(*module.removeprefix(f"{top}.").split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _root(top: str) -> Path | None:
    spec = importlib.util.find_spec(top)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def source_digest(text: str) -> str:
    """Digest of a module's source."""
    return hashlib.sha256(ast.dump(_without_docstrings(text)).encode()).hexdigest()[:LENGTH]


def _without_docstrings(text: str) -> ast.Module:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A string alone does nothing, wherever it stands: that also takes the docstrings of fields.
            body[:] = [line for line in body if not _is_text(line)]
    return tree


def _is_text(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


def _imported(file: Path, module: str) -> Iterator[str]:
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            parts = parts[: len(parts) - (node.level - 1)] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
