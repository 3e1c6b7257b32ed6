"""Packages whose import registers environments, as far as the user of this home has allowed them in words.

Gymnasium knows the environments of packages that announce themselves to it. Others register theirs when they are
imported, and a dataset may name one of them; but what a dataset names is never a reason to import it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions

from ..errors import UserError, nearest
from ..home import home

FILE = "environments.json"
_MOST_BYTES = 65_536


def allowed() -> list[str]:
    """Packages that may be imported before an environment is looked up, in the order they were allowed.

    Raises:
        UserError: the list cannot be read.
    """
    file = home() / FILE
    try:
        if not file.exists():
            return []
        found = json.loads(file.read_bytes()[:_MOST_BYTES])
        if isinstance(found, list) and all(isinstance(one, str) and one.isidentifier() for one in found):
            return found
    except (OSError, ValueError, RecursionError):
        pass
    raise UserError(
        "is no list of package names",
        key=str(file),
        fix="Delete it, and allow packages again: `flowsweep environments allow`.",
    )


def allow(package: str) -> None:
    """Have a package imported from now on before environments are looked up, under this home.

    Raises:
        UserError: no installed package has modules of that name.
    """
    known = installed_packages()
    if package not in known:
        raise UserError(
            "no installed package is imported under this name", key="PACKAGE", value=package,
            fix=f"Install it first. {nearest(package, known) if known else ''}",
        )  # fmt: skip
    _write([*(one for one in allowed() if one != package), package])


def forget(package: str) -> None:
    """Take a permission back.

    Raises:
        UserError: there is none.
    """
    before = allowed()
    if package not in before:
        raise UserError("is not allowed", key="PACKAGE", value=package, fix=nearest(package, before))
    _write([one for one in before if one != package])


def import_allowed() -> None:
    """Import every package that is allowed.

    Raises:
        UserError: one cannot be imported.
    """
    for package in allowed():
        try:
            importlib.import_module(package)
        except Exception as error:  # its own code runs
            raise UserError(
                f"cannot be imported ({type(error).__name__}: {error})", key="flowsweep environments allow", value=package,
                fix=f"Install it here, or take it back: `flowsweep environments allow --forget {package}`.",
            ) from error  # fmt: skip


def installed_packages() -> list[str]:
    """Names under which installed packages are imported; Python's own modules are not among them."""
    return sorted(
        name
        for name in packages_distributions()
        if name.isidentifier() and not name.startswith("_") and name not in sys.stdlib_module_names
    )


def _write(packages: Sequence[str]) -> None:
    file = home() / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{FILE}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as target:
        json.dump(list(packages), target)
    os.replace(aside, file)
