"""Which cluster is meant, whether it may be spoken to, and whether it answers."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..platform.errors import Refused, Unreachable, UserError

OLDEST_RAY = "2.55"
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 4.0, 5.0
_ADDRESS_VARIABLES = ("FLOWSWEEP_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_ADDRESS_FIX = "Give the address of the cluster's dashboard, such as `--address http://HOST:8265`."
TOKEN_FIX = (
    "Set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that holds it, to the token the cluster was "
    "started with."
)


@dataclass(frozen=True)
class Endpoint:
    """A cluster's dashboard and the token it is spoken to with."""

    url: str
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    @property
    def verify(self) -> str | bool:
        """What an https certificate is checked against: a file, or what the library does by itself."""
        return self.ca_file or True

    @property
    def headers(self) -> dict[str, str]:
        """What goes along with every request."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def endpoint(
    address: str | None = None,
    *,
    allow_insecure: bool = False,
    token: str | None = None,
    ca_file: str | None = None,
) -> Endpoint:
    """The cluster a command is for, before anything is sent to it.

    Args:
        address: what the user gave; else ``$FLOWSWEEP_ADDRESS``, ``$RAY_API_SERVER_ADDRESS``, ``$RAY_ADDRESS``.
        allow_insecure: speak to another machine in plain text and without a token.
        token: the cluster's own; else the one Ray itself would use.
        ca_file: certificates to check an https address against; else what the environment names.

    Raises:
        UserError: there is no address, it is not a dashboard's, or the token or the certificates cannot be read.
        Refused: another machine, plain http and no token.
    """
    key, given = _given(address)
    url, host = checked_url(given, key)
    token = token or _token(is_this_machine(host))
    if not (token or allow_insecure or url.startswith("https://") or is_this_machine(host)):
        raise Refused(
            "speaks plain http to another machine and no token is set: whoever can reach that port can run "
            "any code there, and whoever is on the way can change what you send",
            key=key,
            value=url,
            fix=f"{TOKEN_FIX} Or open a tunnel (`ssh -L 8265:localhost:8265 HOST`) and use "
            "http://localhost:8265. On a network you trust, pass --allow-insecure.",
        )
    return Endpoint(url, token, _certificates(ca_file) if url.startswith("https://") else None)


def _certificates(ca_file: str | None) -> str | None:
    """One file for both libraries that speak to the dashboard: left alone, each reads another variable."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    key, path = next(
        (
            (key, path)
            for key, path in (("ca_file", ca_file), *((n, os.environ.get(n)) for n in names))
            if path
        ),
        ("", ""),
    )
    if not path:
        return None
    if not os.access(Path(path).expanduser(), os.R_OK):
        raise UserError("names certificates that cannot be read", key=key, value=path)
    return str(Path(path).expanduser())


def _given(address: str | None) -> tuple[str, str]:
    if address:
        return "--address", address
    for name in _ADDRESS_VARIABLES:
        if os.environ.get(name):
            return name, os.environ[name]
    raise UserError("is required", key="--address", fix=f"{_ADDRESS_FIX} Or set FLOWSWEEP_ADDRESS.")


def checked_url(address: str, key: str) -> tuple[str, str]:
    """A dashboard's address and its host.

    Raises:
        UserError: it is something else, or holds a login.
    """
    try:
        parts = urlsplit(address.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UserError("is not an address", key=key, value=address, fix=_ADDRESS_FIX) from None
    if parts.scheme not in {"http", "https"} or not host:
        raise UserError("must start with http:// or https://", key=key, value=address, fix=_ADDRESS_FIX)
    if parts.username is not None or parts.query or parts.fragment:
        raise UserError("must be a host and a port only", key=key, fix=_ADDRESS_FIX)
    return parts.geturl().rstrip("/"), host


def is_this_machine(host: str) -> bool:
    """Whether only this machine can be meant, so that nothing is sent over a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(this_machine: bool) -> str | None:
    """The token Ray itself would use.

    Ray reads a token only when RAY_AUTH_MODE is ``token``; here a token that is set is also sent. The file
    that Ray writes for clusters of this machine goes to another machine only when RAY_AUTH_MODE asks for it.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    if mode == "disabled":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return _token_in(Path(path).expanduser(), "RAY_AUTH_TOKEN_PATH")
    default = Path("~/.ray/auth_token").expanduser()
    if mode == "token":
        return _token_in(default, "RAY_AUTH_MODE")
    return _token_in(default, str(default)) if this_machine and default.is_file() else None


def _token_in(path: Path, key: str) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise UserError(
            "names a token that cannot be read", key=key, value=str(path), fix=TOKEN_FIX
        ) from None
    if not token:
        raise UserError("names a token file that is empty", key=key, value=str(path), fix=TOKEN_FIX)
    return token


def ray_version(at: Endpoint) -> str:
    """The Ray version the cluster runs, having checked that it answers us and is recent enough.

    Raises:
        Unreachable: nothing answers in time, or what answers is not Ray.
        Refused: the cluster wants a token, or another one, or its Ray is too old.
    """
    import requests

    try:
        reply = requests.get(  # A redirect could lead the token to another server.
            f"{at.url}/api/version",
            headers=at.headers,
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            verify=at.verify,
            allow_redirects=False,
        )
    except requests.exceptions.SSLError as error:
        raise Unreachable(
            f"its certificate was not accepted: {_last_cause(error)}", key="--address", value=at.url,
            fix="Name the certificate authority's file (`ca_file` of the cluster's profile, or REQUESTS_CA_BUNDLE), "
            "use the name the certificate was issued for, or have it renewed.",
        ) from None  # fmt: skip
    except requests.exceptions.RequestException as error:
        raise Unreachable(
            f"no cluster answers there: {_last_cause(error)}", key="--address", value=at.url,
            fix="Check that the head node runs with `--dashboard-host` set to an address you can reach, and "
            "that the port is open; or open a tunnel: `ssh -L 8265:localhost:8265 HOST`.",
        ) from None  # fmt: skip
    _check_admitted(reply.status_code, at)
    return _checked_version(_version_in(reply, at))


def _last_cause(error: BaseException) -> str:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(getattr(error, "strerror", None) or error)


def _check_admitted(status: int, at: Endpoint) -> None:
    if status == 401:
        raise Refused("asks for a token and none was sent", key="--address", value=at.url, fix=TOKEN_FIX)
    if status == 403:
        raise Refused("does not accept the token", key="--address", value=at.url, fix=TOKEN_FIX)


def _version_in(reply, at: Endpoint) -> str:
    try:
        reply.raise_for_status()
        return str(reply.json()["ray_version"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Unreachable(
            f"something answers there (status {reply.status_code}), but not a Ray dashboard",
            key="--address", value=at.url,
            fix=f"{_ADDRESS_FIX} The Jobs API needs `ray[default]` on the head node.",
        ) from None  # fmt: skip


def _checked_version(version: str) -> str:
    from packaging.version import Version

    if Version(version) < Version(OLDEST_RAY):
        raise Refused(
            "the cluster's Ray is too old", key="Ray", value=version,
            fix=f"Install Ray {OLDEST_RAY} or later on every node.",
        )  # fmt: skip
    return version
