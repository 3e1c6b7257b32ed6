"""A tracking server to share: MLflow over PostgreSQL, with a login, on loopback unless told otherwise."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from ..platform.errors import Refused, UserError
from ..platform.paths import Home
from ..platform.tracking.server import check_port
from ..trainables.config import FrozenConfig, parse
from .tracker_database import Database, end_database, given_database, own_address, own_database
from .tracker_mlflow import ADMIN, check_packages, end_mlflow, local_address, mlflow_problem, start_mlflow
from .tracker_state import TrackerFolder, alive, read_processes, read_settings, write_settings


class TrackerSettings(FrozenConfig):
    """How a tracking server is run; kept, so that the next start is the same."""

    host: str = "127.0.0.1"
    """Address it listens on."""
    port: int = Field(5000, ge=1, le=65535)
    """Port it listens on."""
    workers: int = Field(1, ge=1, le=64)
    """Processes that answer; each takes about 0.4 GiB."""
    database: str | None = None
    """An existing database, `postgresql://USER@HOST/DATABASE` without password; else one of its own is started."""
    database_port: int | None = Field(None, ge=1, le=65535)
    """Port of its own database on 127.0.0.1; a free one is chosen on the first start."""
    artifacts: str | None = None
    """Where artifacts go: a folder, `s3://bucket/prefix` or `gs://bucket/prefix`; else a folder of its own."""
    allowed_hosts: str | None = None
    """Names under which browsers and clients reach it, separated by commas, beside addresses of private networks."""
    tls_certificate: str | None = None
    """PEM file with its certificate chain; it then speaks https."""
    tls_key: str | None = None
    """PEM file with the key of that certificate."""
    postgres_bin: str | None = None
    """Folder with PostgreSQL's programs, where they are not found by themselves."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> TrackerSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True)
class TrackerStatus:
    """How a tracking server stands.

    Attributes:
        state: ``running``, ``stopped``, ``database only``, or ``broken`` when it should run and does not serve.
        problem: why it is broken.
        uri: what to write as ``tracking.uri``.
        login: the administrator's name; ``password_file`` holds the password.
        credentials_file: the same login as ``~/.mlflow/credentials`` holds one.
        database: its database; ``studies`` the one meant for ``search.storage``, both without password.
        database_password_file: for ``PGPASSFILE``; None where the database is not its own.
        loopback: whether only this machine can reach it; ``tls`` whether it speaks https.
        processes: of its own, by role.
    """

    state: str
    problem: str | None
    uri: str
    login: str
    password_file: str
    credentials_file: str
    database: str | None
    studies: str | None
    database_password_file: str | None
    artifacts: str
    folder: str
    loopback: bool
    tls: bool
    processes: Mapping[str, list[int]]


def up(
    home: Home, wanted: Mapping[str, Any], *, database_only: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> TrackerStatus:  # fmt: skip
    """Start the tracking server, or what of it does not run; what it kept is taken up again.

    Args:
        home: it lies in ``HOME/tracker``.
        wanted: fields of :class:`TrackerSettings` to set, "" for the default; the others are as at the last start.
        database_only: leave MLflow away, for a restore or an upgrade.
        say: told what is being done.

    Raises:
        UserError: a setting is wrong, or a program or package is missing.
        Refused: it runs already in another way.
        Unreachable: a port is taken, or something does not start.
    """
    folder = TrackerFolder(home.root / "tracker")
    check_packages()
    with folder.locked():
        settings = _settings(folder, wanted)
        running = read_processes(folder)
        keeps = settings.database is not None or alive(running.get("postgresql", ()))
        if keeps and alive(running.get("mlflow", ())):
            return _already(folder, settings, database_only)
        end_mlflow(folder)  # Without its database it serves nothing; and workers left behind hold the port.
        if not database_only:
            check_port(settings.host, settings.port)
        settings = _with_database_port(settings, alive(running.get("postgresql", ())))
        write_settings(folder, settings.model_dump(mode="json"))
        say("starting PostgreSQL" if settings.database is None else "asking the database")
        database = _open_database(folder, settings)
        if not database_only:
            say("starting MLflow")
            start_mlflow(folder, settings, database, _artifacts(folder, settings))
        return _status(folder, settings)


def status(home: Home) -> TrackerStatus | None:
    """How the tracking server stands; None when there has never been one here."""
    folder = TrackerFolder(home.root / "tracker")
    if not folder.settings.exists():
        return None
    return _status(folder, _settings(folder, {}))


def down(home: Home) -> list[str]:
    """End the tracking server; all it has kept stays. Returns what was ended."""
    folder = TrackerFolder(home.root / "tracker")
    if not folder.settings.exists():
        return []
    with folder.locked():
        ended = [("MLflow", end_mlflow(folder)), ("PostgreSQL", end_database(folder))]
    return [name for name, ran in ended if ran]


def _settings(folder: TrackerFolder, wanted: Mapping[str, Any]) -> TrackerSettings:
    kept = {key: value for key, value in read_settings(folder).items() if wanted.get(key) != ""}
    given = {key: value for key, value in wanted.items() if value not in (None, "")}
    for key in ("tls_certificate", "tls_key", "postgres_bin"):
        if key in given:
            given[key] = _existing(given[key], key)
    if "artifacts" in given and "://" not in given["artifacts"]:
        given["artifacts"] = str(Path(given["artifacts"]).expanduser().resolve())
    return parse(TrackerSettings, {**kept, **given}, "tracker")


def _existing(path: str, key: str) -> str:
    found = Path(path).expanduser().resolve()
    if not found.exists() or any(mark in str(found) for mark in "'\n"):
        raise UserError("names no file that can be used", key=f"--{key.replace('_', '-')}", value=path)
    return str(found)


def _already(folder: TrackerFolder, settings: TrackerSettings, database_only: bool) -> TrackerStatus:
    before = _settings(folder, {})
    if settings != before or database_only:
        raise Refused(
            "runs already, in another way",
            key="tracker",
            value=_uri(before),
            fix="End it first: flowsweep cluster tracker down. What it has recorded stays.",
        )
    return _status(folder, settings)


def _with_database_port(settings: TrackerSettings, runs: bool) -> TrackerSettings:
    if settings.database is not None:
        return settings
    if settings.database_port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return settings.model_copy(update={"database_port": probe.getsockname()[1]})
    if not runs:
        check_port("127.0.0.1", settings.database_port)
    return settings


def _open_database(folder: TrackerFolder, settings: TrackerSettings) -> Database:
    if settings.database is not None:
        return given_database(settings.database)
    assert settings.database_port is not None
    programs = None if settings.postgres_bin is None else Path(settings.postgres_bin)
    return own_database(folder, settings.database_port, programs)


def _status(folder: TrackerFolder, settings: TrackerSettings) -> TrackerStatus:
    running = read_processes(folder)
    state, problem = _state(folder, settings, running)
    own = settings.database is None
    database = own_address(folder, settings.database_port or 0) if own else None
    return TrackerStatus(
        state=state,
        problem=problem,
        uri=_uri(settings),
        login=ADMIN,
        password_file=str(folder.password),
        credentials_file=str(folder.credentials),
        database=database.tracking if database else settings.database,
        studies=database.studies if database else None,
        database_password_file=str(folder.pgpass) if own else None,
        artifacts=_artifacts(folder, settings),
        folder=str(folder.root),
        loopback=settings.loopback,
        tls=settings.tls_certificate is not None,
        processes={role: [m.pid for m in marks if m.process()] for role, marks in running.items()},
    )


def _state(folder: TrackerFolder, settings: TrackerSettings, running: Mapping) -> tuple[str, str | None]:
    serves, keeps = alive(running.get("mlflow", ())), alive(running.get("postgresql", ()))
    if running.get("postgresql") and not keeps:
        return "broken", f"PostgreSQL has died; its last words are in {folder.database_log}"
    if serves:
        problem = mlflow_problem(folder, settings)
        return ("running", None) if problem is None else ("broken", f"MLflow: {problem}")
    if running.get("mlflow"):
        return "broken", f"MLflow has died; its last words are in {folder.log}"
    return ("database only" if keeps else "stopped"), None


def _artifacts(folder: TrackerFolder, settings: TrackerSettings) -> str:
    return settings.artifacts or str(folder.artifacts)


def _uri(settings: TrackerSettings) -> str:
    """What others write as ``tracking.uri``."""
    if settings.host not in ("0.0.0.0", "::"):
        return local_address(settings)
    name = (settings.allowed_hosts or socket.gethostname()).partition(",")[0].partition(":")[0]
    return f"{'https' if settings.tls_certificate else 'http'}://{name}:{settings.port}"
