"""Secrets taken out of text before it is kept or shown: those of this environment, and what looks like one.

What is known: the values of environment variables that are named like secrets, passwords in addresses such variables
hold, and the token of Ray's. What is recognised: logins in addresses, signatures in their queries, bearer tokens.
A secret that is neither, printed by a system's own code, is not found.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

HIDDEN = "***"
SHORTEST = 6
"""Shorter values are no secrets worth the name, and would be found everywhere."""
_SECRET_PARTS = frozenset(
    {"SECRET", "SECRETS", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "PGPASSWORD", "APIKEY", "CREDENTIALS"}
)
_NOT_THE_SECRET = frozenset({"FILE", "PATH", "DIR", "ID", "NAME", "MODE", "TYPE", "ARN", "URL", "URI"})
_LOGIN = re.compile(r"(\b[A-Za-z][\w+.-]*://[^\s/?#@:\"']*):[^\s/?#@\"']+@")
_LONE_LOGIN = re.compile(r"(\bhttps?://)[^\s/?#@:\"']+@")
_QUERY = re.compile(
    r"(?i)([?&](?:password|sslpassword|secret|token|access_token|api_key|sig|signature|"
    r"x-amz-signature|x-amz-security-token|x-amz-credential)=)[^&\s\"']+"
)
_BEARER = re.compile(r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}")


def is_secret_name(name: str) -> bool:
    """Whether a variable of that name usually holds a secret (``AWS_SECRET_ACCESS_KEY``) and not where one is kept."""
    parts = name.upper().split("_")
    if parts[-1] in _NOT_THE_SECRET:
        return False
    return (
        bool(_SECRET_PARTS.intersection(parts))
        or parts[-1] == "KEY"
        or parts[-2:] == ["CONNECTION", "STRING"]
    )


class Redactor:
    """Takes the secrets of one environment out of text.

    Args:
        environment: whose secrets; this process's, as it is now, when left out.
    """

    def __init__(self, environment: Mapping[str, str] | None = None):
        found: set[str] = set()
        for value in _secrets(os.environ if environment is None else environment):
            if len(value) >= SHORTEST:
                found |= {value, json.dumps(value)[1:-1], quote(value, safe="")}
        self._known = sorted(found, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        if "://" in text:
            text = _LONE_LOGIN.sub(rf"\1{HIDDEN}@", _LOGIN.sub(rf"\1:{HIDDEN}@", text))
            text = _QUERY.sub(rf"\1{HIDDEN}", text)
        if "earer " in text or "asic " in text:
            text = _BEARER.sub(rf"\1{HIDDEN}", text)
        return text

    def value(self, value: Any) -> Any:
        """A JSON value whose texts, keys included, are without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


def redacted(text: str) -> str:
    """The text without the secrets of this process."""
    return Redactor().text(text)


def secrets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold a secret: named like one, or an address with a password in it."""
    return {
        name: value
        for name, value in environment.items()
        if (is_secret_name(name) and not value.startswith("/"))
        or name.endswith("ACCESS_KEY_ID")
        or ("://" in value and "@" in value and _password_in(value))
    }


def _secrets(environment: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    for name, value in environment.items():
        if is_secret_name(name) and not value.startswith("/"):  # RAY_TLS_SERVER_KEY and its like name a file
            found.add(value.strip())
        if "://" in value and "@" in value:
            found.add(_password_in(value))
    for place in (environment.get("RAY_AUTH_TOKEN_PATH"), "~/.ray/auth_token"):
        if place:
            found.add(_content(Path(place).expanduser()))
    return found


def _password_in(address: str) -> str:
    try:
        return urlsplit(address).password or ""
    except ValueError:
        return ""


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, RuntimeError):
        return ""
