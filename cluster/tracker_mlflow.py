"""MLflow's server with a login: how it is started, and whether it answers and lets its administrator in."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..platform.errors import Refused, Unreachable, UserError
from .local import ask
from .tracker_database import Database
from .tracker_state import (
    TrackerFolder,
    end_server,
    last_lines,
    marks_of,
    note_processes,
    secret,
    start_server,
    write_secret,
)

if TYPE_CHECKING:
    from .tracker import TrackerSettings

ADMIN = "admin"
START_S = 300.0
"""MLflow makes its tables when it starts for the first time, which takes most of a minute on a busy machine."""
ANSWER_S = 5.0
WRONG_PASSWORD = "it answers, but the password in its folder is not the administrator's"
LOGINS_KEPT_S = 60
"""How long a checked password is remembered, since checking one takes about as long as everything else in a request."""
_HOSTS = ("localhost", "127.0.0.1", "10.*", "192.168.*", *(f"172.{second}.*" for second in range(16, 32)))
"""Names and addresses it may always be asked under, as MLflow itself has it; others could be a page's way to it."""


def check_packages() -> None:
    """See that MLflow can ask for logins and speak to PostgreSQL.

    Raises:
        UserError: a package is missing.
    """
    for module, package in (("flask_wtf", "Flask-WTF"), ("psycopg", "psycopg")):
        if find_spec(module) is None:
            raise UserError(
                f"needs the package {package}, which is not installed",
                key="tracker",
                fix="pip install 'flowsweep[tracker]'",
            )


def write_logins(folder: TrackerFolder, database: Database) -> None:
    """Make the administrator's password on the first start, and MLflow's settings for logins every time.

    Logins lie in MLflow's own database. The password reaches MLflow through a file only its owner can read.
    """
    password = secret(folder.password)
    write_secret(
        folder.auth,
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {database.sqlalchemy.replace('%', '%%')}\n"
        f"admin_username = {ADMIN}\nadmin_password = {password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        f"auth_cache_ttl_seconds = {LOGINS_KEPT_S}\n",
    )
    write_secret(
        folder.credentials,
        f"[mlflow]\nmlflow_tracking_username = {ADMIN}\nmlflow_tracking_password = {password}\n",
    )


def server_command(settings: TrackerSettings, database: Database, artifacts: str) -> list[str]:
    """The command that serves it. Everybody may read a process's arguments: no secret is among them."""
    tls = f"--ssl-certfile '{settings.tls_certificate}' --ssl-keyfile '{settings.tls_key}'"
    return [
        *(sys.executable, "-P", "-m", "mlflow", "server", "--app-name", "basic-auth"),
        *("--backend-store-uri", database.sqlalchemy, "--artifacts-destination", artifacts),
        *("--host", settings.host, "--port", str(settings.port), "--workers", str(settings.workers)),
        *("--allowed-hosts", ",".join(_hosts(settings))),
        *(("--uvicorn-opts", tls) if settings.tls_certificate else ()),
    ]


def _hosts(settings: TrackerSettings) -> list[str]:
    own = () if settings.loopback else (settings.host, socket.gethostname(), socket.getfqdn())
    given = (settings.allowed_hosts or "").split(",")
    names = dict.fromkeys(name.strip() for name in (*_HOSTS, *own, *given) if name.strip())
    return [form for name in names for form in ((name,) if ":" in name else (name, f"{name}:*"))]


def server_environment(folder: TrackerFolder, database: Database) -> dict[str, str]:
    """This process's environment, for a server that knows no login of its own and runs no jobs."""
    unfit = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    return {
        **{name: value for name, value in os.environ.items() if name not in unfit},
        **database.environment,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder.auth),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(folder.session_key),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def start_mlflow(
    folder: TrackerFolder, settings: TrackerSettings, database: Database, artifacts: str
) -> None:
    """Start the server and wait until it answers and lets the administrator in.

    Raises:
        Refused: it does not let the administrator in.
        Unreachable: it ends or does not answer in time; what it printed last is in the message.
    """
    write_logins(folder, database)
    command, environment = server_command(settings, database, artifacts), server_environment(folder, database)
    process = start_server(folder, "mlflow", command, folder.log, cwd=folder.root, env=environment)
    deadline, problem = time.monotonic() + START_S, "no answer"
    try:
        while process.poll() is None and time.monotonic() < deadline:
            problem = mlflow_problem(folder, settings)
            if problem is None:
                note_processes(folder, "mlflow", marks_of(process.pid))
                return
            if problem == WRONG_PASSWORD:
                raise Refused(
                    f"MLflow has started, but {problem.removeprefix('it answers, but ')}: it was changed, or the "
                    "database is from elsewhere", key="tracker", value=str(folder.password),
                    fix="Write the administrator's password into that file, and start it again.",
                )  # fmt: skip
            time.sleep(0.5)
        why = _why(folder) or f"{problem}\n{last_lines(folder.log)}"
        raise Unreachable(
            f"MLflow does not start: {why}",
            key="tracker", value=str(folder.log), fix=_way_out(folder, database),
        )  # fmt: skip
    except BaseException:
        end_mlflow(folder)
        raise


def end_mlflow(folder: TrackerFolder) -> bool:
    """End the server and its workers, if they run. Says whether any did."""
    return end_server(folder, "mlflow", signal.SIGTERM, 20.0, signal.SIGKILL)


def mlflow_problem(folder: TrackerFolder, settings: TrackerSettings) -> str | None:
    """Why the server is of no use at the moment; None when it answers and lets its administrator in."""
    import requests

    at, secure = local_address(settings), settings.tls_certificate is not None
    try:
        if secure:
            # Our own process, under a name its certificate is not for: asked whether it is there, told no password.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reply = ask(f"{at}/health", ANSWER_S, verify=False)
        else:
            who = (ADMIN, secret(folder.password))
            path = "/api/2.0/mlflow/experiments/search?max_results=1"
            reply = ask(f"{at}{path}", ANSWER_S, auth=who)
    except requests.exceptions.RequestException as error:
        return f"no answer ({type(error).__name__})"
    if reply.status_code in (401, 403):
        return WRONG_PASSWORD
    return None if reply.ok else f"it answers with status {reply.status_code}"


def local_address(settings: TrackerSettings) -> str:
    """The server as this machine reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _why(folder: TrackerFolder) -> str | None:
    said = last_lines(folder.log, 60).lower()
    return "its database is of another MLflow version" if "out-of-date database schema" in said else None


def _way_out(folder: TrackerFolder, database: Database) -> str | None:
    if _why(folder) is None:
        return None
    needs = "".join(f"{name}={value} " for name, value in _public(database.environment).items())
    return (
        "Back it up, then bring it up to date: `flowsweep cluster tracker up --database-only`, "
        f"`{needs}mlflow db upgrade {database.sqlalchemy}`, `flowsweep cluster tracker up`."
    )


def _public(environment: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in environment.items() if name == "PGPASSFILE"}
