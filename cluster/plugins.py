"""A user's own package beside flowsweep's: laid out so that code and entry points are found here and on the cluster.

A project (a folder with ``pyproject.toml``) is built into a wheel by its own build backend, as ``pip`` would, and
unpacked; so any layout its backend knows is right, and its registered systems come along. Building runs the project's
code here, and the job runs it there: send only packages you would run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.metadata import Distribution, PathDistribution, distributions, packages_distributions
from pathlib import Path

from ..platform.errors import UserError

LEFT_OUT = shutil.ignore_patterns(".git", ".hg", ".venv", "venv", "__pycache__", "*.egg-info", ".*_cache")
GROUP = "flowsweep.systems"


@dataclass(frozen=True)
class Plugin:
    """A package that goes along.

    Attributes:
        name: its distribution's, or the folder's where it belongs to none.
        parts: folders and modules to put on the job's path, its metadata among them.
        systems: what it registers.
    """

    name: str
    parts: tuple[Path, ...]
    systems: tuple[str, ...]


def lay_out(place: str, folder: Path) -> Plugin:
    """Lay a package out under ``folder``, which must be empty.

    Args:
        place: a project, a wheel, or the folder of an importable package (with ``__init__.py``).

    Raises:
        UserError: it is none of these, or cannot be built here.
    """
    source = Path(place).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".whl" and source.is_file():
        _unpack(source, folder)
    elif (source / "pyproject.toml").is_file():
        _unpack(_built(source, folder.parent / f"{folder.name}-build"), folder)
    elif (source / "__init__.py").is_file():
        _copy_package(source, folder)
    else:
        raise UserError(
            "is neither a project nor a package", key="--package", value=place,
            fix="Give a folder with a pyproject.toml, one with an __init__.py, or a wheel.",
        )  # fmt: skip
    parts = tuple(sorted(item for item in folder.iterdir() if item.is_dir() or item.suffix == ".py"))
    found = next(iter(distributions(path=[str(folder)])), None)
    systems = [point.name for point in found.entry_points if point.group == GROUP] if found else []
    return Plugin(found.metadata["Name"] if found else source.name, parts, tuple(sorted(systems)))


@contextmanager
def importable(folders: Iterable[Path]) -> Iterator[None]:
    """Meanwhile this process finds what was laid out, before anything it has installed."""
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in folders]
    invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _built(source: Path, scratch: Path) -> Path:
    """The wheel of a project, built from a copy so that nothing is left in the user's folder."""
    try:
        from build import BuildBackendException, BuildException, ProjectBuilder
    except ImportError:
        raise UserError(
            "needs the package `build` to be made ready", key="--package", value=str(source),
            fix="`pip install build setuptools`, or give a wheel.",
        ) from None  # fmt: skip
    copy, out = scratch / "source", scratch / "wheel"

    def ignored(folder: str, names: list[str]) -> set[str]:
        earlier = (
            {"build", "dist"} if Path(folder) == source else set()
        )  # built before; deeper, they are packages
        return LEFT_OUT(folder, names) | earlier.intersection(names)

    _copy(source, copy, ignored)
    said: list[str] = []
    try:
        builder = ProjectBuilder(copy, runner=_quietly(said))
        missing = {name for chain in builder.check_dependencies("wheel") for name in chain[:1]}
        if missing:
            raise UserError(
                "cannot be built here", key="--package", value=str(source),
                fix=f"`pip install {' '.join(repr(name) for name in sorted(missing))}`, or give a wheel.",
            )  # fmt: skip
        return Path(builder.build("wheel", out))
    except (BuildException, BuildBackendException) as error:
        last = next((line for line in reversed("".join(said).splitlines()) if line.strip()), str(error))
        raise UserError(f"cannot be built: {last.strip()}", key="--package", value=str(source)) from None


def _quietly(said: list[str]):
    def run(cmd, cwd=None, extra_environ=None) -> None:
        done = subprocess.run(
            cmd, cwd=cwd, env={**os.environ, **(extra_environ or {})}, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said.append(done.stdout)
        done.check_returncode()

    return run


def _unpack(wheel: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(folder)  # names that lead out of the folder are made to stay in it
    except zipfile.BadZipFile:
        raise UserError("is not a wheel", key="--package", value=str(wheel)) from None
    for data in folder.glob("*.data"):
        for inside in (data / "purelib", data / "platlib"):
            if inside.is_dir():
                shutil.copytree(inside, folder, dirs_exist_ok=True)
        shutil.rmtree(data)


def _copy_package(source: Path, folder: Path) -> None:
    """The package, and the metadata of the distribution here that it is part of, if there is one."""
    _copy(source, folder / source.name, LEFT_OUT)
    owner = _owner(source)
    if owner is None:
        return
    target = folder / f"{owner.metadata['Name'].replace('-', '_')}-{owner.version}.dist-info"
    target.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        text = owner.read_text(name) or (owner.read_text("PKG-INFO") if name == "METADATA" else "")
        (target / name).write_text(text or "", encoding="utf-8")


def _copy(source: Path, target: Path, ignore: Callable[[str, list[str]], set[str]]) -> None:
    """A folder without links that lead nowhere, which nothing in a package can need."""
    try:
        shutil.copytree(source, target, ignore=ignore, ignore_dangling_symlinks=True)
    except OSError as error:
        first = error.args[0][0] if isinstance(error, shutil.Error) else (error.filename, "", error.strerror)
        raise UserError(
            f"cannot be copied: {first[0]}: {first[2]}", key="--package", value=str(source),
            fix="Give a folder that holds only the package, or a wheel.",
        ) from None  # fmt: skip


def _owner(source: Path) -> Distribution | None:
    beside = [
        found for found in distributions(path=[str(source.parent)]) if isinstance(found, PathDistribution)
    ]
    named = packages_distributions().get(source.name, ())
    for found in (*beside, *(one for one in distributions() if one.metadata["Name"] in named)):
        if any(
            point.value.partition(".")[0].partition(":")[0] == source.name for point in found.entry_points
        ):
            return found
    return None
