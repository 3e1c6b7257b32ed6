"""What can be known of launcher files before they are used: rendered ones before they are written, edited ones later."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ...platform.errors import UserError
from ...trainables.redaction import is_secret_name, redacted

_CLUSTER = "ray-cluster.yaml"
_ASSIGNED = re.compile(
    r"\b([A-Z][A-Z0-9_]+)[\"']?(?:=|:\s*|,?\s*value:\s*)[\"']?[^\s\"'$%<{\[~/-][^\s\"']{5,}"
)
"""A variable set to something that is neither a reference nor the path of a file."""


def check_files(texts: Mapping[str, str]) -> list[UserError]:
    """Every mistake found: what is no YAML or TOML, what Ray refuses, what a shell cannot read, and secrets.

    Args:
        texts: content by path in the folder.
    """
    return [mistake for path, text in texts.items() for mistake in _mistakes(path, text)]


def _mistakes(path: str, text: str) -> Iterator[UserError]:
    for number in _lines_with_secrets(text):
        yield UserError(
            f"line {number} holds a secret", key=path,
            fix="Keep it in a file of its own, in an environment variable or in a Secret, and name that.",
        )  # fmt: skip
    if path.endswith((".yaml", ".yml")):
        yield from _yaml(path, text)
    elif path.endswith(".toml"):
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            yield UserError(f"is not valid TOML: {error}", key=path)
    elif path.endswith((".sh", ".sbatch")):
        yield from _shell(path, text)


def _lines_with_secrets(text: str) -> list[int]:
    known = [number for number, line in enumerate(text.splitlines(), 1) if redacted(line) != line]
    set_ = [match for match in _ASSIGNED.finditer(text) if is_secret_name(match[1])]
    return sorted({*known, *(text.count("\n", 0, match.end()) + 1 for match in set_)})


def _yaml(path: str, text: str) -> Iterator[UserError]:
    try:
        documents = list(yaml.safe_load_all(text))
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        RecursionError,
    ) as error:  # dates that are none, huge integers
        yield UserError(f"is not valid YAML: {' '.join(str(error).split())}", key=path)
        return
    if path != _CLUSTER:
        return
    if not documents or not isinstance(documents[0], dict):
        yield UserError(
            "holds no settings", key=path, fix="Write it anew with `flowsweep cluster init --force`."
        )
    elif problem := ray_refuses(documents[0]):
        yield UserError(f"Ray refuses it: {problem}", key=path)


def ray_refuses(config: Any) -> str | None:
    """What Ray's own validation says against a cluster file, as ``ray up`` would; None when it takes it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(config))
    except Exception as error:  # jsonschema's, and whatever the place in Ray that fails raises
        where = ".".join(map(str, getattr(error, "absolute_path", ())))
        return f"{where}: " * bool(where) + (
            getattr(error, "message", "") or str(error) or type(error).__name__
        )
    return None


def _shell(path: str, text: str) -> Iterator[UserError]:
    if (bash := shutil.which("bash")) is None:
        return
    read = subprocess.run([bash, "-n"], input=text, capture_output=True, text=True, check=False)
    if read.returncode:
        yield UserError(f"bash cannot read it: {read.stderr.strip().splitlines()[0]}", key=path)
