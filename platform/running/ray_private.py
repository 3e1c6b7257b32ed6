"""A Ray of our own: its files are for nobody else, it listens on this machine only, and it is told no secrets.

Ray makes its folders open to everybody, writes its token readable, and logs the environment that it was given.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ...trainables.handed import hand_on
from ...trainables.redaction import secrets_of
from ..errors import UserError

PREFIX = "fs-ray-"
_DEEPEST = f"/{PREFIX}12345678/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
LONGEST = 107 - len(_DEEPEST)
"""Longest folder that Ray's may lie in: a socket's path has 107 characters at most."""
KEPT_S = 24 * 3600.0
"""How long the files of a Ray that did not start are kept; somebody may want its logs."""
ENDING_S = 120.0
"""How long what a killed driver leaves behind is let alone: its agents take a minute to end."""
KEEP = "keep"
LOOPBACK = "127.0.0.1"
LIFELONG = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # elsewhere too: daemons then keep to the loopback
}


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder only we can enter, which Ray that is started meanwhile uses for all that it writes, with a token in it.

    It is deleted in the end.

    Raises:
        UserError: it cannot be made where it is asked for.
    """
    base = base_folder()
    _clear(base)
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        _write(folder / "token", secrets.token_hex(32))
    except OSError as error:
        raise UserError(
            f"Ray's files cannot be written there: {error.strerror}", key="RAY_TMPDIR", value=str(base),
            fix="Set RAY_TMPDIR to a folder of yours on a disk with room.",
        ) from error  # fmt: skip
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)  # as long as this process lives, nobody clears it away
    ours = {**LIFELONG, "RAY_TMPDIR": str(folder), "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    try:
        with environment(ours, without=("RAY_AUTH_TOKEN",)):
            _read_settings_again()
            yield folder
    finally:
        if not (folder / KEEP).exists():
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def keep(folder: Path) -> None:
    """Leave its files for whoever looks for a cause; later Rays clear them away after a day."""
    (folder / KEEP).touch()


@contextmanager
def without_secrets(folder: Path) -> Iterator[None]:
    """Keep secrets from what is started meanwhile; workers find them in a file of that folder (:mod:`flowsweep.trainables.handed`)."""
    hidden = secrets_of(os.environ)
    with environment(hand_on(hidden, folder / "handed.json"), without=tuple(hidden)):
        yield


@contextmanager
def small_head() -> Iterator[dict[str, str]]:
    """Start no daemons that serve nothing here, and let none listen beyond this machine. Yields options for ``ray.init``.

    Ray takes the loopback for its address only where a cluster is impossible, and replaces it by the network's elsewhere.
    """
    from ray._private import node, parameter, ray_constants, services

    small: Any = partial(parameter.RayParams, no_monitor=True, include_log_monitor=False)  # type: ignore[arg-type]
    changes = (
        (parameter, "RayParams", small),  # no autoscaler, and nobody who reads logs
        (
            node.Node,
            "start_api_server",
            lambda self, **options: None,
        ),  # nobody asks the dashboard of such a Ray
        (services, "resolve_ip_for_localhost", lambda host: host),
        (ray_constants, "ENABLE_RAY_CLUSTER", False),
    )
    before = [getattr(module, name) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield {"_node_ip_address": LOOPBACK}
    finally:
        for (module, name, _), value in zip(changes, before, strict=True):
            setattr(module, name, value)


@contextmanager
def environment(values: Mapping[str, str], without: tuple[str, ...] = ()) -> Iterator[None]:
    """Other variables for a while; what they were before holds again afterwards."""
    names = (*values, *without)
    before = {name: os.environ[name] for name in names if name in os.environ}
    for name in without:
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def base_folder() -> Path:
    """Return the folder that Ray's is made in: what RAY_TMPDIR names, or the usual one where its name is short enough.

    Raises:
        UserError: the name that was asked for is too long.
    """
    asked = os.environ.get("RAY_TMPDIR")
    usual = tempfile.gettempdir()
    if asked and len(asked) > LONGEST:
        raise UserError(
            f"is too long for the names of Ray's sockets, which leave {LONGEST} characters", key="RAY_TMPDIR",
            value=asked, fix="Set it to a shorter folder, or leave it out.",
        )  # fmt: skip
    return Path(asked or (usual if len(usual) <= LONGEST else "/tmp"))


def _clear(base: Path) -> None:
    """Delete what killed drivers have left, and logs that were kept long enough."""
    for folder in base.glob(f"{PREFIX}*"):
        with suppress(OSError):
            seen = folder.stat(follow_symlinks=False)
            kept_s = KEPT_S if (folder / KEEP).exists() else ENDING_S
            if seen.st_uid != os.getuid() or time.time() - seen.st_mtime < kept_s:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _write(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)


def _read_settings_again() -> None:
    """Let Ray look at its variables again: it may have been imported before they were set."""
    with suppress(Exception):
        from ray import _raylet

        _raylet.Config.initialize("")  # type: ignore[attr-defined]
        _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]
