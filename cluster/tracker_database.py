"""The tracking server's database: a PostgreSQL of its own, or one that is there already."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..platform.errors import Unreachable, UserError
from ..platform.tracking.check import first_line
from .tracker_state import (
    TrackerFolder,
    alive,
    end_server,
    last_lines,
    read_processes,
    start_server,
    write_secret,
)

USER, TRACKING, STUDIES = "flowsweep", "mlflow", "flowsweep"
"""The role, MLflow's database and the one for Optuna's studies, on a server of our own."""
START_S = 90.0
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
_WAYS_OUT = (
    "Install PostgreSQL (`apt install postgresql`, `dnf install postgresql-server`, `conda install -c conda-forge "
    "postgresql`), name its programs with `--postgres-bin FOLDER`, or use a server that is there already: "
    "`--database postgresql://USER@HOST/DATABASE`."
)


@dataclass(frozen=True)
class Database:
    """A database as MLflow and its users reach it.

    Attributes:
        tracking: address of MLflow's database, without a password.
        studies: address for ``search.storage``, without a password; on a server that is not ours, the user's choice.
        environment: what a client needs beside the address.
    """

    tracking: str
    studies: str | None
    environment: Mapping[str, str]

    @property
    def sqlalchemy(self) -> str:
        """MLflow's way to write the address."""
        return self.tracking.replace("postgresql://", "postgresql+psycopg://", 1)


def given_database(url: str) -> Database:
    """A database that is there already, after it has answered.

    Raises:
        UserError: the address is unfit, or holds a password.
        Unreachable: it does not answer, or refuses us.
    """
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        parts = urlsplit(plain)
        fit = parts.scheme == "postgresql" and bool(parts.path.strip("/"))
        secret_in = parts.password is not None or any("pass" in key for key, _ in parse_qsl(parts.query))
    except ValueError:
        fit, secret_in = False, False
    if not fit:
        raise UserError(
            "is no address of a PostgreSQL database",
            key="--database",
            fix="Write postgresql://USER@HOST/DATABASE; the database must exist, empty at first.",
        )
    if secret_in:
        raise UserError(
            "holds a password, which every list of processes would show",
            key="--database",
            fix="Leave it out; set PGPASSWORD or PGPASSFILE, or write it to ~/.pgpass.",
        )
    try:
        _driver().connect(plain, connect_timeout=6).close()
    except _driver().Error as error:
        raise Unreachable(
            f"the database cannot be used: {first_line(error)}",
            key="--database",
            value=plain,
            fix="Check that it runs and can be reached from here, its user and its password (PGPASSWORD or ~/.pgpass).",
        ) from None
    return Database(plain, None, {})


def own_database(folder: TrackerFolder, port: int, programs: Path | None) -> Database:
    """Start the server's own PostgreSQL on loopback unless it runs, and make what is missing in it.

    Args:
        folder: the tracking server's.
        port: where it listens, on 127.0.0.1.
        programs: folder with ``postgres`` and ``initdb``; looked for when None.

    Raises:
        UserError: there is no PostgreSQL here, it is another version than the data, or it cannot run as this user.
        Unreachable: it does not start.
    """
    _driver()
    database = own_address(folder, port)
    if alive(read_processes(folder).get("postgresql", ())):
        return database
    data = folder.postgresql / "data"
    programs = find_programs(data, programs)
    who = _server_user(folder)
    if not data.exists():
        _make_cluster(folder, data, programs, who)
    command = [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", ""]
    process = start_server(folder, "postgresql", command, folder.database_log, cwd="/", **who)
    try:
        _await_server(folder, port, process)
        _make_databases(folder, port)
    except BaseException:
        end_database(folder)
        raise
    return database


def end_database(folder: TrackerFolder) -> bool:
    """End our own database server, if it runs; its data stays. Says whether it ran."""
    return end_server(folder, "postgresql", signal.SIGINT, 60.0, signal.SIGQUIT)


def find_programs(data: Path, given: Path | None) -> Path:
    """The folder with PostgreSQL's programs, of the version that the data is of.

    Raises:
        UserError: there are none, or none of that version.
    """
    on_path = shutil.which("postgres")
    places = [given] if given else [p for pattern in _PLACES for p in Path("/").glob(pattern[1:])]
    if on_path and not given:
        places.append(Path(on_path).resolve().parent)
    found = {
        place: _version(place)
        for place in places
        if (place / "initdb").exists() and (place / "postgres").exists()
    }
    if not found:
        raise UserError(
            "no PostgreSQL server programs there" if given else "this machine has no PostgreSQL server",
            key="--postgres-bin", value=None if given is None else str(given), fix=_WAYS_OUT,
        )  # fmt: skip
    kept = data / "PG_VERSION"
    wanted = _text_of(kept)
    if wanted is None:
        return max(found, key=lambda place: found[place])
    for place, version in found.items():
        if str(version) == wanted:
            return place
    raise UserError(
        f"the data was written by PostgreSQL {wanted}, here is only {', '.join(map(str, found.values()))}",
        key="--postgres-bin",
        fix=f"Install version {wanted}, or carry the data over: a dump made by {wanted}, restored by the other.",
    )


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _version(programs: Path) -> int:
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=False)
    number = re.search(r"(\d+)", said.stdout)
    return int(number.group(1)) if number else 0


def own_address(folder: TrackerFolder, port: int) -> Database:
    """Where our own database is, running or not."""
    at = f"postgresql://{USER}@127.0.0.1:{port}"
    return Database(f"{at}/{TRACKING}", f"{at}/{STUDIES}", {"PGPASSFILE": str(folder.pgpass)})


def _server_user(folder: TrackerFolder) -> dict[str, Any]:
    """Who the server runs as: PostgreSQL refuses root, so root hands it to the user ``postgres``."""
    if os.geteuid() != 0:
        folder.postgresql.mkdir(mode=0o700, exist_ok=True)
        return {}
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        raise UserError(
            "PostgreSQL does not run as root, and this machine has no user `postgres` to run it as",
            key="tracker", fix="Start it as an ordinary user, or use `--database postgresql://USER@HOST/DATABASE`.",
        ) from None  # fmt: skip
    who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    folder.postgresql.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder.postgresql, entry.pw_uid, entry.pw_gid)
    if subprocess.run(["test", "-x", folder.postgresql], check=False, **who).returncode:
        raise UserError(
            "PostgreSQL does not run as root, and the user `postgres` may not enter this folder",
            key="tracker", value=str(folder.postgresql),
            fix="Start it as an ordinary user, or set FLOWSWEEP_HOME to a folder others may pass through, or use "
            "`--database postgresql://USER@HOST/DATABASE`.",
        )  # fmt: skip
    return who


def _make_cluster(folder: TrackerFolder, data: Path, programs: Path, who: Mapping[str, Any]) -> None:
    """Make the database's folder aside: interrupted on the way, it would be one that cannot be started."""
    aside = data.with_name(f".data.{secrets.token_hex(4)}.aside")
    handed = aside.with_suffix(".password")
    write_secret(handed, _password(folder))
    if who:
        os.chown(handed, who["user"], who["group"])
    options = ["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", f"--pwfile={handed}"]
    try:
        made = subprocess.run(
            [programs / "initdb", "-D", aside, *options],
            capture_output=True, text=True, cwd="/", check=False, **who,
        )  # fmt: skip
        if made.returncode:
            raise Unreachable(
                f"PostgreSQL's data cannot be made: {made.stderr.strip()[-400:]}", key="tracker"
            )
        os.replace(aside, data)
    finally:
        handed.unlink(missing_ok=True)
        shutil.rmtree(aside, ignore_errors=True)


def _password(folder: TrackerFolder) -> str:
    """The database's password, kept in the file libpq reads it from."""
    if not folder.pgpass.exists():
        write_secret(folder.pgpass, f"127.0.0.1:*:*:{USER}:{secrets.token_hex(24)}\n")
    return folder.pgpass.read_text().strip().rpartition(":")[2]


def _await_server(folder: TrackerFolder, port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            _connect(folder, port, "postgres").close()
            return
        except _driver().Error as error:
            if process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            raise Unreachable(
                f"PostgreSQL does not start: {first_line(error)}\n{last_lines(folder.database_log)}",
                key="tracker", value=str(folder.database_log),
                fix="If its port is taken, choose another with `--database-port`.",
            ) from None  # fmt: skip


def _connect(folder: TrackerFolder, port: int, name: str) -> Any:
    return _driver().connect(
        host="127.0.0.1", port=port, user=USER, dbname=name, password=_password(folder),
        connect_timeout=5, autocommit=True,
    )  # fmt: skip


def _make_databases(folder: TrackerFolder, port: int) -> None:
    with _connect(folder, port, "postgres") as connection:
        there = {row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}
        for name in (TRACKING, STUDIES):
            if name not in there:
                connection.execute(f'CREATE DATABASE "{name}"')


def _driver() -> Any:
    try:
        return import_module("psycopg")
    except ImportError:
        raise UserError(
            "needs the package psycopg, which is not installed",
            key="tracker",
            fix="pip install 'flowsweep[tracker]'",
        ) from None
