"""Code of the user's own as plain text: a file and the local modules it imports, read once, with its digests."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..code_digest import LENGTH, source_digest
from ..errors import UserError

NAMED = re.compile(r"(?P<file>.+\.py)(?::(?P<name>[A-Za-z_]\w*))?")
"""What names code: a path that ends in ``.py``, a colon, and what it holds."""
MOST_BYTES = 4 << 20
"""More text than this is no longer somebody's training code; it would go to every worker."""


def names_code(system: str) -> bool:
    """Whether a sweep's ``system`` is a file instead of a registered name."""
    return NAMED.fullmatch(system) is not None


def label_of(system: str) -> str:
    """How a system is called where there is little room: a file without the folders that lead to it."""
    return system.replace("\\", "/").rpartition("/")[2] if names_code(system) else system


def short_name(system: str) -> str:
    """A name for a system among others, as where its runs are kept: of a file its name, or that of what it holds."""
    named = NAMED.fullmatch(system)
    if not named:
        return system
    stem = re.split(r"[/\\]", named["file"])[-1].removesuffix(".py")
    return stem if named["name"] in (None, "train", "SYSTEM") else named["name"]


@dataclass(frozen=True)
class Module:
    """One local module.

    Attributes:
        name: what it is imported as; the file's stem for the first one.
        file: where it was read.
        inside: the same, from the folder of the first one.
        text: its source.
        is_package: whether it is a folder (``__init__.py``).
    """

    name: str
    file: str
    inside: str
    text: str
    is_package: bool = False


@dataclass(frozen=True)
class Code:
    """What a file holds under a name, ready to be run anywhere.

    Attributes:
        attribute: the function or the system in it.
        modules: the file itself, then every local module that it imports, directly or not.
    """

    attribute: str
    modules: tuple[Module, ...]

    @property
    def main(self) -> Module:
        """The file itself."""
        return self.modules[0]

    @property
    def name(self) -> str:
        """The system by which a sweep beside the file names it: ``./train.py:train``."""
        return f"./{self.main.inside}:{self.attribute}"

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Digest of every file, by its path inside the folder; comments, docstrings and layout do not count."""
        return {module.inside: source_digest(module.text) for module in self.modules}

    @cached_property
    def digest(self) -> str:
        """One digest of them all."""
        said = "\n".join(f"{inside} {digest}" for inside, digest in sorted(self.digests.items()))
        return hashlib.sha256(said.encode()).hexdigest()[:LENGTH]

    def write(self, folder: Path) -> None:
        """Lay the files out under a folder, as they lie beside each other."""
        for module in self.modules:
            file = folder / module.inside
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(module.text, encoding="utf-8")


def read_code(system: str, beside: Path, key: str = "system") -> Code:
    """The code that a sweep names.

    Args:
        system: ``PATH.py:NAME``.
        beside: the folder that a relative path starts from.
        key: the setting that says so.

    Raises:
        UserError: there is no such file, it cannot be read or parsed, or nothing in it is named.
    """
    named = NAMED.fullmatch(system)
    assert named, system
    file = (beside / Path(named["file"]).expanduser()).resolve()
    if not file.is_file():
        raise UserError(
            "there is no such file", key=key, value=system,
            fix=f"Looked for {file}; a relative path starts where the sweep file is.",
        )  # fmt: skip
    modules = tuple(_closure(file))
    if not named["name"]:
        found = ", ".join(f"`{named['file']}:{name}`" for name in _offered(modules[0])) or "`FILE.py:train`"
        raise UserError(
            "does not say what in the file is meant", key=key, value=system, fix=f"Write {found}."
        )
    return Code(named["name"], modules)


def _offered(module: Module) -> list[str]:
    """Functions and constants that a person may have meant."""
    found = []
    for node in parsed(module).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found += [name for name in [node.targets[0].id] if name.isupper() and "SYSTEM" in name]
    return found


def _closure(file: Path) -> Iterator[Module]:
    """A file and the local modules it imports, those it names first."""
    root, seen, size = file.parent, set(), 0
    waiting = [_read(file.stem, file, root)]
    while waiting:
        module = waiting.pop(0)
        if module.file in seen:
            continue
        seen.add(module.file)
        size += len(module.text)
        if size > MOST_BYTES:
            raise UserError(
                f"brings along more than {MOST_BYTES >> 20} MiB of source", key="system", value=str(file),
                fix="Install what it imports as a package.",
            )  # fmt: skip
        yield module
        waiting += [one for name in _imported(module) for one in _local(name, root)]


def _read(name: str, file: Path, root: Path, is_package: bool = False) -> Module:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", key="system", value=str(file)) from None
    return Module(name, str(file), str(file.relative_to(root)), text, is_package)


def parsed(module: Module) -> ast.Module:
    """The syntax tree of a module.

    Raises:
        UserError: it is not Python; with file and line.
    """
    try:
        return ast.parse(module.text, module.file)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UserError(f"{module.file}{line}: is not Python: {said}", key="system") from None


def _imported(module: Module) -> Iterator[str]:
    """Dotted names of everything a module imports, also inside functions."""
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            parts = parts[: len(parts) - (node.level - 1)] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names if base)


def _local(name: str, root: Path) -> Iterator[Module]:
    """The modules in the file's folder that importing a dotted name loads; none where it is installed elsewhere."""
    parts = name.split(".")
    if parts[0] in sys.stdlib_module_names:
        return
    for size in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:size])
        dotted = ".".join(parts[:size])
        if (file := place / "__init__.py").is_file():
            yield _read(dotted, file, root, is_package=True)
        elif (file := place.with_suffix(".py")).is_file():
            yield _read(dotted, file, root)
            return
        elif not place.is_dir():
            return
        # A folder without __init__.py is a package too, of which nothing has to be read.
