"""Import code of the user's own from the text it was read as: the one place where a file that a person names is run.

Errors name the user's own file and line. Modules are found under the names the user's code imports them by, before
anything of that name elsewhere; the text they come from travels with :class:`.code.Code`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from ..errors import PackageMissing, UserError, nearest
from ..places import place_of
from .code import Code, Module, label_of


class TextLoader(SourceLoader):
    """Runs one module from its text, under the path it was read at."""

    def __init__(self, module: Module):
        self.module = module

    def get_filename(self, fullname: str) -> str:
        return self.module.file

    def get_data(self, path: str | bytes) -> bytes:
        return self.module.text.encode()

    def is_package(self, fullname: str) -> bool:
        return self.module.is_package

    def get_source(self, fullname: str) -> str:
        """The text, so that tracebacks show the lines that were run, whatever the file holds by now."""
        return self.module.text


class TextFinder(MetaPathFinder):
    """Finds the local modules of code that was loaded; of two of one name, the newer."""

    def __init__(self) -> None:
        self.modules: dict[str, Module] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if module := self.modules.get(fullname):
            return _spec(fullname, module)
        if any(name.startswith(f"{fullname}.") for name in self.modules):
            return ModuleSpec(fullname, None, is_package=True)  # a folder without __init__.py
        return None


_FINDER = TextFinder()


def _spec(name: str, module: Module) -> ModuleSpec:
    inside = [] if module.is_package else None
    spec = spec_from_file_location(
        name, module.file, loader=TextLoader(module), submodule_search_locations=inside
    )
    assert spec
    return spec


def load(code: Code) -> Any:
    """What the code's file holds under its name.

    Raises:
        PackageMissing: it imports a package that is not installed here.
        UserError: it cannot be imported, or holds nothing of that name; with file and line.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _make_way(code)
    _FINDER.modules |= {module.name: module for module in code.modules[1:]}
    # A name of its own, since a file called `test` or `ray` must not stand in for those modules.
    name = f"{code.main.name}_{code.digest}"
    spec = _spec(name, code.main)
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        assert spec.loader
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise explained(error, label_of(code.name)) from error
    if not hasattr(module, code.attribute):
        offered = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(
            f"{code.main.inside} holds nothing called `{code.attribute}`", key="system", value=code.name,
            fix=nearest(code.attribute, offered) if offered else None,
        )  # fmt: skip
    return getattr(module, code.attribute)


def _make_way(code: Code) -> None:
    """Forget local modules of code loaded before; refuse a name that something installed is already in use under."""
    for module in code.modules[1:]:
        there = sys.modules.get(module.name)
        if there is None:
            continue
        loader = getattr(getattr(there, "__spec__", None), "loader", None)
        if not isinstance(loader, TextLoader):
            raise UserError(
                f"{module.file} has the name of a module that is in use here ({getattr(there, '__file__', None)})",
                key="system", value=code.name, fix="Rename your file.",
            )  # fmt: skip
        del sys.modules[module.name]


def explained(error: BaseException, what: str, key: str = "system") -> UserError:
    """An exception raised while code was imported, as a mistake with its place.

    Args:
        what: the system, as its user knows it.
    """
    place = place_of(error)
    where = f"{place}: " if place else ""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, ModuleNotFoundError):
        return PackageMissing(
            f"{where}its code needs {error.name}, which is not installed here", key=key, value=what,
            fix="Install it, or submit to a cluster whose nodes have it: the code is loaded there.",
        )  # fmt: skip
    if isinstance(error, UserError):
        return UserError(f"{where}{error}", key=key, value=what)
    if isinstance(error, TypeError) and "abstract" in said:
        return UserError(f"{where}{_unfinished(said)}", key=key, value=what, fix="Write what is missing.")
    fix = None if place else "FLOWSWEEP_DEBUG=1 shows the whole traceback."
    return UserError(f"{where}{type(error).__name__}: {said}", key=key, value=what, fix=fix)


def _unfinished(said: str) -> str:
    """What Python says of a class that lacks methods, in fewer words."""
    words = said.replace("Can't instantiate abstract class ", "class ")
    return words.replace(" without an implementation for abstract", " lacks the")
