"""Which file of the user's own a sweep on record is run with. No record says so: this account remembers what it has run.

A record may come from anybody, so it names code by the word its sweep file used and by digests, which are compared. Where
the file lies is kept in ``code.json`` in this account's configuration folder, by the sweep's folder; elsewhere a person
names it again with ``--code``.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ...trainables.user_code.code import label_of, names_code, read_code
from ...trainables.user_code.known import declare
from ..errors import UserError
from ..paths import SweepPaths
from ..sweep.spec import read_spec

if TYPE_CHECKING:
    from ..sweep.plan import Plan

KEPT = "code"
"""Folder of a sweep with a copy of the code it was run with, for people to read; nothing runs it by itself."""


def memory_file() -> Path:
    """Where this account remembers which code it has run."""
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "flowsweep" / "code.json"


def remember_code(plan: Plan, paths: SweepPaths) -> None:
    """Note where the code of a sweep that is run here lies, and leave a copy beside the record."""
    code = plan.resolved.system.code
    if code is None:
        return
    declare(plan.spec.system, code)
    code.write(paths.root / KEPT)
    file = memory_file()
    with suppress(OSError):  # without it, `--code` has to name the file again
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):
            places = {**_remembered(), str(paths.root.resolve()): f"{code.main.file}:{code.attribute}"}
            aside = file.with_suffix(f".{os.getpid()}")
            aside.touch(mode=0o600)
            aside.write_text(json.dumps(places, indent=1), encoding="utf-8")
            os.replace(aside, file)


def name_recorded_code(paths: SweepPaths, given: str | None = None) -> None:
    """Make the code of a sweep on record known to this process, where it is a file of the user's own.

    Args:
        given: ``PATH.py:NAME`` as a person says it now; the file it was run with from here when not given.

    Raises:
        UserError: no file is known, it is gone, or the sweep is of a registered system.
    """
    if not paths.spec.exists():
        return  # whoever goes on says that there is no such sweep
    system = read_spec(paths.spec).system
    if not names_code(system):
        if given:
            raise UserError(
                f"the sweep is of the registered system `{system}`",
                key="--code",
                value=given,
                fix="Leave it out.",
            )
        return
    place = given or _remembered().get(str(paths.root.resolve()))
    if place is None:
        raise UserError(
            "the sweep runs a file that was never run from this account, and records name no code",
            key="system", value=system,
            fix=f"Look at the copy in {paths.root / KEPT}, and name the file: `--code PATH/{label_of(system)}`.",
        )  # fmt: skip
    if ":" not in place.rpartition(".py")[2]:
        place = f"{place}:{system.rpartition(':')[2]}"
    try:
        code = read_code(place, Path.cwd(), key="--code" if given else "system")
    except UserError as error:
        if given:
            raise
        raise UserError(
            error.problem, key="system", value=place,
            fix=f"Where it lies now: `--code PATH/{label_of(system)}`. A copy is in {paths.root / KEPT}.",
        ) from None  # fmt: skip
    declare(system, code)


def _remembered() -> dict[str, str]:
    """Sweeps' folders to the code they were run with; nothing where the file is not this account's own."""
    file = memory_file()
    try:
        found = file.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            return {}
        places = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in places.items()} if isinstance(places, dict) else {}
