"""On the cluster, before a sweep starts there: everything that can be known within seconds to stand in its way."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..platform.doctor.packages import judge_requirement, requirements, vulnerabilities
from ..platform.errors import Refused, UserError, UserErrors
from ..platform.paths import Home
from ..platform.store.opening import check_store
from ..platform.sweep.resolve import resolve
from ..platform.sweep.spec import SweepSpec, load_spec, read_spec
from ..trainables.errors import UnknownSystem
from ..trainables.handed import take_up
from ..trainables.redaction import redacted
from ..trainables.user_code.code import names_code
from .entry import FAILED, JOB, PACKAGE, PACKAGES, READY, required_by
from .sameness import difference_text, recorded_difference

PROBE_BYTES = 1 << 20
LEAST_FREE_BYTES = 64 << 20
"""A home with less room cannot hold even the record and a checkpoint of a small sweep."""


def carry_out(arguments: Sequence[str]) -> int:
    """Do what a job was sent for. A sweep's own process goes on as the command line, so that it hears a stop request."""
    mode, *rest = arguments
    take_up()  # what the node's daemons were not told
    try:
        if mode == "relay":
            from .relay import relay

            return relay(rest)
        if mode == "list":
            from .relay import tell_sweeps

            return tell_sweeps()
        command = _command(mode, rest)
    except UserError as error:
        print(f"{FAILED}{redacted(str(error))}", file=sys.stderr, flush=True)
        return error.exit_code
    print(READY, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", f"{PACKAGE}.platform.cli", *command, "--address", "auto"])


def _command(mode: str, rest: Sequence[str]) -> list[str]:
    """What the command line is to do, once it is known that it can be begun.

    Raises:
        UserError, Refused, Unreachable: it cannot.
    """
    check_versions()
    home = Home.default()
    check_home(home.root)
    if mode == "resume":
        name, *code = rest
        spec, command = (
            read_spec(_recorded(home, name)),
            ["resume", name, *(["--code", *code] if code else [])],
        )
    elif mode == "take-up":
        (file,) = rest
        spec = _resolved(load_spec(file))
        command = _run_or_resume(spec, home, file)
    else:
        raise UserError("is nothing this job can do", key="MODE", value=mode)
    check_store(home, spec.storage.stages)
    _open_source(spec)
    _note_job(home, spec.name)
    return command


def _resolved(spec: SweepSpec) -> SweepSpec:
    try:
        return resolve(spec).spec
    except UnknownSystem as error:
        raise UnknownSystem(
            "no package on the cluster registers this system", key="system", value=spec.system,
            fix="Send the one that does along (`--package PATH`), or install it on every node.",
        ) from error  # fmt: skip


def _open_source(spec: SweepSpec) -> None:
    """What it learns from is there, before its job counts as started.

    Raises:
        UserError: it is not; naming the command that makes it there.
    """
    try:
        resolve(spec).system.open_source(spec.source.name)
    except UserErrors:
        raise
    except UserError as error:
        raise UserError(
            f"on the cluster: {error.problem}", key=error.key, value=spec.source.name,
            fix=" ".join(filter(None, (error.fix, "That is for a node of the cluster, with the home it has there."))),
        ) from error  # fmt: skip


def _run_or_resume(spec: SweepSpec, home: Home, file: str) -> list[str]:
    different = recorded_difference(spec, home.sweep(spec.name))
    if different is None:
        return ["run", file]
    if different:
        raise Refused(
            f"another sweep of this name is on record there: {difference_text(different)}",
            key="name", value=spec.name,
            fix="Choose another --name, or go on with what is on record: `flowsweep submit ... --resume`.",
        )  # fmt: skip
    print(f"{spec.name} is on record here; going on with it.", flush=True)
    return ["resume", spec.name, *(["--code", spec.system] if names_code(spec.system) else [])]


def _recorded(home: Home, name: str) -> Path:
    paths = home.sweep(name)
    if not paths.spec.exists():
        raise Refused(
            "there is no sweep of this name on record there", key="name", value=name,
            fix="Submit it without --resume, or give the --home it was run with.",
        )  # fmt: skip
    return paths.spec


def check_versions() -> None:
    """This Python's packages are recent enough for flowsweep and what came along, and leave the cluster closed to others.

    Raises:
        Refused: naming every package that is not.
    """
    import ray
    from packaging.requirements import Requirement

    names = filter(None, os.environ.get(PACKAGES, "").split(","))
    wanted = [*requirements(), *(Requirement(text) for name in names for text in required_by(name))]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    wrong = [finding.what for one in wanted if (finding := judge_requirement(one))]

    wrong += [finding.what for finding in vulnerabilities("ray", ray.__version__)]
    if wrong:
        raise Refused(
            f"the packages of {sys.executable} do not fit: {'; '.join(wrong)}",
            fix="Install what flowsweep requires on every node, or name a Python that has it with --python.",
        )


def check_home(root: Path) -> None:
    """The home can be written to and has room.

    Raises:
        Refused: it cannot, or has not.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        free = os.statvfs(root)
    except OSError as error:
        raise Refused(
            f"the home cannot be written to: {error.strerror}", key="--home", value=str(root),
            fix="Free some room or mend its permissions there, or give another folder that every node sees.",
        ) from None  # fmt: skip
    if (free_bytes := free.f_bavail * free.f_frsize) < LEAST_FREE_BYTES:
        raise Refused(
            f"the home has {free_bytes >> 20} MiB left", key="--home", value=str(root),
            fix="Free some room there (`flowsweep gc`), or give another folder that every node sees.",
        )  # fmt: skip


def _note_job(home: Home, sweep: str) -> None:
    """Leave the job's id beside the record: a client that finds it in a folder it sees knows that to be the same folder."""
    from ..trainables.artifacts import write_text

    if job := os.environ.get(JOB):
        write_text(home.sweep(sweep).root / "job", f"{job}\n")
