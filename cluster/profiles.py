"""Clusters by name: one file that says where each is, what it is spoken to with, and what sweeps get there.

``$XDG_CONFIG_HOME/flowsweep/clusters.toml``, else ``~/.config/flowsweep/clusters.toml``::

    default = "lab"

    [clusters.lab]
    address = "https://head.lab:8265"
    home = "/shared/flowsweep"
    token_file = "~/.config/flowsweep/lab.token"
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ..platform.errors import Refused, UserError, UserErrors, nearest
from ..platform.paths import checked_name
from ..platform.store.object_files import is_object_address
from ..platform.sweep.spec import Resources
from ..platform.sweep.yaml_reader import MOST_BYTES
from ..platform.tracking.check import checked_uri
from ..trainables.config import FrozenConfig, parse
from .variables import checked_variables

VARIABLE = "FLOWSWEEP_CLUSTER"
"""Names the cluster for commands that name none themselves."""
OTHERS_WRITE, OTHERS_ANY = 0o002, 0o007


class Profile(FrozenConfig):
    """One cluster, and what sweeps submitted to it get unless they or the command line say otherwise."""

    address: str
    """Its dashboard: http://HOST:8265 or https://HOST."""
    home: str | None = None
    """FLOWSWEEP_HOME there: an absolute folder that every node sees."""
    stages: str | None = None
    """Stage store of sweeps that name none: a folder, `s3://bucket/prefix` or `gs://bucket/prefix`."""
    tracker: str | None = None
    """MLflow of sweeps that name none, without a login."""
    token_file: str | None = None
    """File that holds the cluster's token; nobody else may read it. Else RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."""
    ca_file: str | None = None
    """Certificates an https address is checked against. Else REQUESTS_CA_BUNDLE or SSL_CERT_FILE, or the system's."""
    python: str = "python"
    """The Python on the head node that has the requirements."""
    env: Mapping[str, str] = {}
    """Environment variables of sweeps there. No secrets: the dashboard shows them."""
    packages: tuple[str, ...] = ()
    """Folders of packages that go along (see `--package`); relative ones are beside the profile file."""
    resources: Mapping[str, Any] = {}
    """What `resources` of a sweep file may say, for sweeps that do not say it."""
    allow_insecure: bool = False
    """Speak to it in plain http without a token, although it is another machine."""

    @field_validator("env")
    @classmethod
    def _no_secrets(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        try:
            return checked_variables(value)
        except UserError as error:
            raise ValueError(f"{error.problem}. {error.fix}") from None

    @field_validator("tracker")
    @classmethod
    def _tracker(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                checked_uri(value)
            except UserError as error:
                raise ValueError(f"{error.problem}. {error.fix}") from None
        return value

    @field_validator("home", "token_file", "ca_file")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("/", "~")):
            raise ValueError("must be an absolute path")
        return value

    @field_validator("stages")
    @classmethod
    def _place(cls, value: str | None) -> str | None:
        if value is not None and not is_object_address(value) and not value.startswith("/"):
            raise ValueError("must be an absolute folder, s3://bucket/prefix or gs://bucket/prefix")
        return value

    @field_validator("resources")
    @classmethod
    def _known(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            parse(Resources, dict(value))
        except UserErrors as error:
            raise ValueError("; ".join(str(one).rstrip(".") for one in error.errors)) from None
        return value


class Profiles(FrozenConfig):
    """The whole file."""

    default: str | None = None
    """The cluster meant when a command names none."""
    clusters: Mapping[str, Profile] = Field(default={})
    """By name."""


def profile_file() -> Path:
    """Where the profiles of this user are kept, whether or not the file exists."""
    # The standard asks to ignore relative paths.
    given = os.environ.get("XDG_CONFIG_HOME", "")
    root = Path(given) if given.startswith("/") else Path("~/.config").expanduser()
    return root / "flowsweep" / "clusters.toml"


def read_profiles(file: Path | None = None) -> Profiles:
    """The profiles of this user; none when there is no file.

    Raises:
        UserError, UserErrors: it cannot be read; naming the line, key and rule of every mistake.
        Refused: others may write it, and so say where the token is sent.
    """
    file = file or profile_file()
    try:
        if file.stat().st_mode & OTHERS_WRITE:
            raise Refused(
                "others may write this file, and so have your token sent elsewhere",
                key=str(file), fix=f"`chmod o-w {file}`.",
            )  # fmt: skip
        with open(file, "rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"is longer than the {MOST_BYTES // 1024} KiB that are read", key=str(file))
        text = content.decode()
    except FileNotFoundError:
        return Profiles()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", key=str(file)) from None
    try:
        profiles = _parsed(_toml(text, file))
    except UserErrors as error:
        raise UserErrors([_placed(one, file, text) for one in error.errors]) from None
    for name in profiles.clusters:
        checked_name(name, f"{file}: clusters")
    if profiles.default is not None and profiles.default not in profiles.clusters:
        raise _placed(_unknown("default", profiles.default, profiles), file, text)
    return profiles


def _toml(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # also for integers of thousands of digits, and deep nesting
        said = " ".join(str(error).split()) or "it is nested too deep"
        raise UserError(f"is not valid TOML: {said}", key=str(file)) from None


def _parsed(values: Mapping[str, Any]) -> Profiles:
    """Each profile by itself, so that a misspelt key is told with the ones there are."""
    written = values.get("clusters", {})
    if not isinstance(written, Mapping):
        return parse(Profiles, values)
    heads, errors, clusters = parse(Profiles, {**values, "clusters": {}}), [], {}
    for name, one in written.items():
        try:
            clusters[name] = parse(Profile, one, f"clusters.{name}")
        except UserErrors as error:
            errors += error.errors
    if errors:
        raise UserErrors(errors)
    return heads.model_copy(update={"clusters": clusters})


def chosen(name: str | None) -> tuple[str, Profile] | None:
    """The cluster named on the command line or by ``$FLOWSWEEP_CLUSTER``; None when neither is.

    Raises:
        UserError: there is none of that name.
    """
    key, wanted = ("--cluster", name) if name else (VARIABLE, os.environ.get(VARIABLE))
    if not wanted:
        return None
    profiles = read_profiles()
    if wanted not in profiles.clusters:
        raise _unknown(key, wanted, profiles)
    return wanted, profiles.clusters[wanted]


def default() -> tuple[str, Profile] | None:
    """The cluster the file calls the default, if it does."""
    profiles = read_profiles()
    return None if profiles.default is None else (profiles.default, profiles.clusters[profiles.default])


def read_token(path: str, key: str = "token_file") -> str:
    """The token in a profile's file.

    Raises:
        UserError: it cannot be read or is empty.
        Refused: others may read or change it.
    """
    file = Path(path).expanduser()
    try:
        if file.stat().st_mode & OTHERS_ANY:
            raise Refused(
                "others on this machine may read or change the token", key=key, value=str(file),
                fix=f"`chmod 600 {file}`; and change the token, if somebody may have.",
            )  # fmt: skip
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not text"
        raise UserError(f"names a token that cannot be read: {said}", key=key, value=str(file)) from None
    if not token:
        raise UserError(
            "names a token file that is empty", key=key, value=str(file),
            fix="It must hold the token the cluster was started with.",
        )  # fmt: skip
    return token


def _unknown(key: str, name: str, profiles: Profiles) -> UserError:
    fix = nearest(name, profiles.clusters) if profiles.clusters else f"Describe it in {profile_file()}."
    return UserError("no cluster of this name is described", key=key, value=name, fix=fix)


def _placed(error: UserError, file: Path, text: str) -> UserError:
    """The mistake, with the line of the file it is on in front."""
    line = _line_of(error.key or "", text)
    error.args = (f"{file}{f', line {line}' if line else ''}: {error}",)
    return error


def _line_of(key: str, text: str) -> int | None:
    """The line that sets a dotted key, or opens the table it is missing from."""
    table, opened = "", None
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            table = found[1].replace('"', "").replace("'", "")
            opened = number if key.startswith(table) else opened
        elif found := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            name = ".".join(filter(None, (table, found[1].strip("\"'"))))
            if key == name or key.startswith(f"{name}."):
                return number
    return opened
