"""Are Python and the packages here what flowsweep asks for, and free of what is publicly known to be open?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from .findings import Finding

ONESELF = "flowsweep"


@dataclass(frozen=True)
class Advisory:
    """A published vulnerability of a package: the first version without it, and what it lets others do."""

    package: str
    fixed_in: str
    name: str
    what: str


ADVISORIES = (
    Advisory("ray", "2.54.0", "CVE-2026-27482", "a web page can delete jobs through the dashboard"),
    Advisory("mlflow", "3.10.0", "CVE-2026-2614", "anyone who reaches the server can read its files"),
    Advisory("mlflow", "3.11.0", "CVE-2026-4137", "other users of the machine can change downloaded models"),
    Advisory(
        "mlflow", "3.13.0", "CVE-2026-8147", "a server with logins shows traces to users without the right"
    ),
)
TOKENS_SINCE = "2.52.0"
"""The first Ray whose clusters can ask for a token."""


def check_python(running: str = sys.version.split()[0]) -> Iterator[Finding]:
    """The interpreter against `Requires-Python`."""
    wanted = metadata(ONESELF)["Requires-Python"] or ""
    if SpecifierSet(wanted).contains(running, prereleases=True):
        yield Finding("python", "ok", f"Python {running} ({wanted} is asked for)")
    else:
        yield Finding(
            "python", "problem", f"Python {running}, but {wanted} is asked for",
            f"Make the environment anew with a Python {wanted}.",
        )  # fmt: skip


def check_packages() -> Iterator[Finding]:
    """Every requirement of the installed flowsweep, those of its extras included."""
    wanted = requirements()
    unmet = [finding for requirement in wanted if (finding := judge_requirement(requirement))]
    yield from unmet
    if not unmet:
        yield Finding("packages", "ok", f"{len(wanted)} required packages are here, all recent enough")


def requirements() -> list[Requirement]:
    """What flowsweep requires here, and what the extras it asks for require."""
    direct = [Requirement(text) for text in requires(ONESELF) or ()]
    found = {str(one): one for one in direct if one.marker is None or one.marker.evaluate({"extra": ""})}
    for one in list(found.values()):
        found |= {str(further): further for further in _of_extras(one)}
    return list(found.values())


def _of_extras(requirement: Requirement) -> Iterator[Requirement]:
    try:
        texts = requires(requirement.name) if requirement.extras else None
    except PackageNotFoundError:
        return  # Said of the package itself.
    for further in map(Requirement, texts or ()):
        if further.marker and any(further.marker.evaluate({"extra": extra}) for extra in requirement.extras):
            yield further


def judge_requirement(requirement: Requirement) -> Finding | None:
    """What is wrong with a package, if anything."""
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Finding("packages", "problem", f"{wanted} is missing", f"`pip install '{wanted}'`")
    if requirement.specifier.contains(found, prereleases=True):
        return None
    return Finding(
        "packages", "problem", f"{requirement.name} {found} is here, but {requirement.specifier} is asked for",
        f"`pip install '{wanted}'`",
    )  # fmt: skip


def check_advisories() -> Iterator[Finding]:
    """Installed packages against the published vulnerabilities that concern a sweep's servers."""
    installed = {}
    for package in {advisory.package for advisory in ADVISORIES}:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue  # Said by `check_packages`.
    open_ = [
        finding for package, found in sorted(installed.items()) for finding in vulnerabilities(package, found)
    ]
    yield from open_
    if not open_:
        named = ", ".join(f"{package} {found}" for package, found in sorted(installed.items()))
        yield Finding("security", "ok", f"{named}: none of {len(ADVISORIES)} known vulnerabilities is open")


def vulnerabilities(package: str, found: str) -> Iterator[Finding]:
    """What is publicly known to be open in a version."""
    for advisory in ADVISORIES:
        if advisory.package == package and Version(found) < Version(advisory.fixed_in):
            yield Finding(
                "security", "problem", f"{package} {found} has {advisory.name}: {advisory.what}",
                f"`pip install '{package}>={advisory.fixed_in}'`",
            )  # fmt: skip
    if package == "ray" and Version(found) < Version(TOKENS_SINCE):
        yield Finding(
            "security", "problem", f"ray {found} cannot ask for a token: whoever reaches a cluster can run code on it",
            f"`pip install 'ray>={TOKENS_SINCE}'`",
        )  # fmt: skip
