"""Is there a tracker at this address? Asked before anything is launched."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import Refused, Unreachable, UserError
from .place import without_login

DATABASES = ("postgresql", "postgres", "mysql", "mssql")
SQLITE = b"SQLite format 3\0"
"""What a database's file begins with; one without content is an empty database."""


def checked_uri(uri: str, key: str = "tracking.uri") -> str:
    """A tracking URI this platform can use.

    Raises:
        UserError: it is a file store, relative, or something else altogether.
    """
    scheme, mark, rest = uri.partition("://")
    if mark:
        uri = f"{(scheme := scheme.lower())}://{rest}"
    if mark and "@" in rest.partition("/")[0]:
        # The value is left out of the message: it may be a secret.
        raise UserError(
            "holds a login, which would be recorded with the sweep",
            key=key,
            fix="Leave it out; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or write ~/.mlflow/credentials.",
        )
    if mark and scheme in ("http", "https") and rest.strip("/"):
        _check_host(uri, key)
        return uri.rstrip("/")
    if uri.partition(":")[0] in ("databricks", "databricks-uc", "uc"):
        raise UserError(
            "names a Databricks workspace, which this platform does not write to",
            key=key,
            value=uri,
            fix="Write `http://host:port`, `https://host` or `sqlite:////path/mlflow.db`, or leave it out.",
        )
    if scheme.partition("+")[0] in DATABASES:
        raise UserError(
            "names a database that only a tracking server may write to",
            key=key,
            value=uri,
            fix="Start one over it (`flowsweep cluster tracker up`, docs/tracking-server.md) and name its address.",
        )
    if uri.startswith("sqlite:///"):
        if not Path(uri.removeprefix("sqlite:///")).is_absolute():
            raise UserError(
                "the database needs an absolute path, or its place depends on where a command is started",
                key=key,
                value=uri,
                fix=f"Write `sqlite:///{Path(uri.removeprefix('sqlite:///')).resolve()}`.",
            )
        return uri
    if scheme == "file" or not mark:
        raise UserError(
            "plain folders are no longer written by MLflow",
            key=key,
            value=uri,
            fix="Leave the key out for the embedded database, or write `sqlite:////path/mlflow.db`; "
            "`mlflow migrate-filestore` moves what is in the folder.",
        )
    raise UserError(
        "is not a tracking address",
        key=key,
        value=uri,
        fix="Write `http://host:port`, `https://host` or `sqlite:////path/mlflow.db`, or leave it out.",
    )


def _check_host(uri: str, key: str) -> None:
    try:
        there = urlsplit(uri)
        fits = there.hostname and (there.port is None or there.port > 0) and not re.search(r"\s", uri)
        why = "names no host"
    except ValueError as error:
        fits, why = False, f"is no address: {error}"
    if not fits:
        raise UserError(why, key=key, value=uri, fix="Write `http://host:port` or `https://host`.")


def check_tracker(uri: str, timeout_s: float = 5.0) -> None:
    """Ask the tracker for an answer before anything is launched.

    Raises:
        UserError: the address is unfit.
        Refused: it asks for a login and gets none, or not one it accepts.
        Unreachable: it does not answer in time, or the database cannot be opened.
    """
    uri = checked_uri(uri)
    try:
        if uri.startswith("sqlite:///"):
            _look_at_database(Path(uri.removeprefix("sqlite:///")))
        else:
            _ask_server(uri, timeout_s)
    except Exception as error:
        if refusal := refused_login(error, uri):
            raise refusal from None
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Unreachable(
                "the tracker's certificate is not accepted", key="tracking.uri", value=without_login(uri),
                fix="Set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate authority's file, or use the name it was "
                "issued for.",
            ) from None  # fmt: skip
        raise Unreachable(
            f"the tracker does not answer: {first_line(error)}",
            key="tracking.uri",
            value=uri,
            fix="Start it or mend the address and login; or leave `tracking.uri` out to record on this machine "
            "and send it there later with `flowsweep sync`.",
        ) from error


def _look_at_database(path: Path) -> None:
    """See that a database is there, or could be made there, and write nothing."""
    if path.is_dir():
        raise OSError(f"{path} is a folder")
    if path.exists():
        if not os.access(path, os.R_OK | os.W_OK):
            raise OSError(f"{path} may not be written")
        with open(path, "rb") as file:
            if file.read(len(SQLITE)) not in (b"", SQLITE):
                raise OSError("the file is not a database")
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir():
        raise OSError(f"{folder} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"{folder} may not be written")


def _ask_server(uri: str, timeout_s: float) -> None:
    with _environment(
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT=str(max(1, round(timeout_s)))
    ):
        from mlflow import MlflowClient

        MlflowClient(uri).search_experiments(max_results=1)


def refused_login(error: Exception, uri: str) -> Refused | None:
    """What MLflow's answer means for a person, when it did not let us in."""
    code = getattr(error, "error_code", None)
    if code not in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return None
    from mlflow.utils.credentials import read_mlflow_creds

    if code == "PERMISSION_DENIED":
        problem = "this login may not do that there"
    elif "@" in uri or read_mlflow_creds().username:
        problem = "the tracker does not accept the login"
    else:
        problem = "the tracker asks for a login and none was given"
    return Refused(
        problem,
        key="tracking.uri",
        value=without_login(uri),
        fix="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or write them to ~/.mlflow/credentials; "
        "or leave `tracking.uri` out to record on this machine and send it there later with `flowsweep sync`.",
    )


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def first_line(error: Exception) -> str:
    """What an error says, fit to stand within a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
