"""Where Optuna keeps a sweep's study: a file in the sweep's folder, or a PostgreSQL that a team shares.

A password never enters a sweep file or a record: PostgreSQL's own ways (``PGPASSWORD``, ``~/.pgpass``) give it.
"""

from __future__ import annotations

import secrets
import threading
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import optuna
from optuna.storages import BaseStorage

from ...trainables.artifacts import write_text
from ..errors import Unreachable, UserError, nearest
from ..paths import SweepPaths

FILES = ("sqlite", "journal")
ANSWER_S = 8.0
"""How long a database may take to answer before a sweep starts."""
OPENED_S = 60.0
"""How long it may take to make its tables, once it answers."""
SECRETS = ("password", "sslpassword", "passfile")


def open_storage(setting: str, paths: SweepPaths) -> BaseStorage:
    """The storage that a sweep file names.

    Args:
        setting: ``sqlite``, ``journal`` or ``postgresql://USER@HOST/DATABASE``.
        paths: the sweep whose folder holds the file, where it is one.

    Raises:
        UserError, Unreachable: the setting is none of these, or the database does not answer.
    """
    check_setting(setting)
    if setting == "sqlite":
        paths.root.mkdir(parents=True, exist_ok=True)
        return optuna.storages.RDBStorage(paths.study)
    if setting == "journal":
        from optuna.storages.journal import JournalFileBackend

        paths.root.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(JournalFileBackend(str(paths.root / "optuna-journal.log")))
    check_storage(setting)
    return _in_time(lambda: _database(setting), setting, OPENED_S)


def study_name(setting: str, paths: SweepPaths) -> str:
    """The study of a sweep. In a shared database it is no other sweep's, also of another user of the same name."""
    if setting in FILES:
        return paths.name
    file = paths.root / "study"
    if not file.exists():
        paths.root.mkdir(parents=True, exist_ok=True)
        write_text(file, f"{paths.name}-{secrets.token_hex(4)}\n")
    return file.read_text().strip()


def check_setting(setting: str) -> None:
    """Refuse what names no storage, and a password.

    Raises:
        UserError: naming the key; the value is left out where it may hold a password.
    """
    if setting in FILES:
        return
    if "://" not in setting:
        known = [*FILES, "postgresql://USER@HOST/DATABASE"]
        raise UserError("unknown storage", key="search.storage", value=setting, fix=nearest(setting, known))
    try:
        url = urlsplit(setting)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise UserError(f"is no address: {error}", key="search.storage") from None
    if url.scheme not in ("postgresql", "postgresql+psycopg"):
        raise UserError(
            "this kind of database is not supported",
            key="search.storage",
            value=url.scheme,
            fix="Use sqlite, journal or postgresql://USER@HOST/DATABASE.",
        )
    if url.password is not None or any(key in SECRETS for key, _ in parse_qsl(url.query)):
        raise UserError(
            "holds a password, which would be recorded with the sweep",
            key="search.storage",
            fix="Leave it out; set PGPASSWORD where the sweep runs, or write it to ~/.pgpass.",
        )
    if not (host or dict(parse_qsl(url.query)).get("host")) or not url.path.strip("/"):
        raise UserError(
            "names no host or no database",
            key="search.storage",
            value=setting,
            fix="Write postgresql://USER@HOST/DATABASE.",
        )


def check_storage(setting: str) -> None:
    """Make sure that a database answers and that the study can be kept there. Files need no check.

    Raises:
        UserError: its driver is not installed, or we may not make tables.
        Unreachable: it does not answer in time, or refuses us.
    """
    check_setting(setting)
    if setting in FILES:
        return
    try:
        psycopg = import_module("psycopg")
    except ImportError:
        raise UserError(
            "needs the package psycopg, which is not installed",
            key="search.storage",
            value=setting,
            fix="pip install 'flowsweep[postgresql]'",
        ) from None

    def ask() -> bool:
        address = setting.replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(address, connect_timeout=int(ANSWER_S) - 2) as connection:
            query = "SELECT to_regclass('studies') IS NOT NULL OR has_schema_privilege(current_schema(), 'CREATE')"
            row = connection.execute(query).fetchone()
            return bool(row and row[0])

    if not _in_time(ask, setting):
        raise UserError(
            "the database answers, but its user may not make tables there",
            key="search.storage",
            value=setting,
            fix="GRANT CREATE ON SCHEMA public TO that user, or name another database.",
        )


def _database(setting: str) -> BaseStorage:
    """PostgreSQL, with connections that are tested before use and noticed when they die.

    Optuna's heartbeat stays off: it fails trials whose driver is away, and ours are to be resumed.
    """
    url = setting.replace("postgresql://", "postgresql+psycopg://", 1)
    settings: dict[str, Any] = {
        "pool_size": 2,
        "max_overflow": 2,
        "pool_pre_ping": True,
        "pool_recycle": 1800,
        "connect_args": {
            "connect_timeout": int(ANSWER_S),
            "application_name": "flowsweep",
            "keepalives": 1,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.storages.RDBStorage(url, engine_kwargs=settings)


def _in_time(ask: Callable[[], Any], setting: str, limit_s: float | None = None) -> Any:
    """What ``ask`` returns, unless it takes too long: some networks swallow a connection without a word."""
    answer: list[Any] = []
    trouble: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(ask())
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    limit_s = limit_s or ANSWER_S
    thread.join(limit_s)
    if answer:
        return answer[0]
    said = str(trouble[0]).strip().splitlines()[0] if trouble and str(trouble[0]).strip() else ""
    why = said or (repr(trouble[0]) if trouble else f"no answer within {limit_s:g} s")
    raise Unreachable(
        f"the database cannot be used: {why}",
        key="search.storage",
        value=setting,
        fix="Check that it runs and can be reached from here, its user and its password (PGPASSWORD or ~/.pgpass).",
    )
