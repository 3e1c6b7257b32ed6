"""Files and settings in YAML, read strictly (:mod:`.yaml_reader`); mistakes are told with the place they stand at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError, UserErrors
from .yaml_reader import AMBIGUOUS, FLOAT, INTEGER, MOST_BYTES, Node, compose, node_of


class _Dumper(yaml.SafeDumper):
    """Quotes text that some reader would take for something else, by YAML 1.1 or by 1.2."""


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    forms = (FLOAT, INTEGER, *(form for form, _, _ in AMBIGUOUS))
    style = "'" if any(form.fullmatch(value) for form in forms) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _quoted)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: it cannot be read, is not YAML, or is not a mapping.
    """
    return _mapping(path).value


def parse_yaml(text: str, where: str) -> Any:
    """A value in YAML notation; mistakes name ``where``, line and column."""
    node = compose(text, where)
    return None if node is None else node.value


def dump_yaml(value: Mapping[str, Any]) -> str:
    """A mapping as YAML, keys in their own order."""
    return yaml.dump(_plain(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def overridden(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with dotted keys replaced.

    A key may be written with its own dots when it exists so (``space.refine.kl_radius.low``).

    Args:
        overrides: values in YAML notation; what is not text is taken as it is (see :class:`Text`).
    """
    result = _plain(values)
    for key, given in overrides.items():
        value = str(given) if isinstance(given, Text) else parse_yaml(given, f"--set {key}")
        _place(result, key.split("."), value, key)
    return result


class Text(str):
    """A setting that is text whatever it looks like (``--name 20240101``)."""


@contextmanager
def placed(path: Path, overrides: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Tell mistakes about a file's keys with the place they stand at.

    Args:
        overrides: keys that the command line says; mistakes about these have no place in the file.
    """
    try:
        yield
    except UserErrors as error:
        root = _mapping(path)
        for one in error.errors:
            _put_place(one, root, path, overrides or {})
        raise UserErrors(error.errors) from error.__cause__
    except UserError as error:
        _put_place(error, _mapping(path), path, overrides or {})
        raise


def _put_place(error: UserError, root: Node, path: Path, overrides: Mapping[str, Any]) -> None:
    key = error.key or ""
    if any(key == changed or key.startswith(f"{changed}.") for changed in overrides):
        return
    if node := node_of(root, key):
        error.args = (f"{path}:{node.line}:{node.column}: {error}",)


def _mapping(path: Path) -> Node:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", key=str(path)) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise UserError("is not text in UTF-8", key=f"{path}:{line}:{column}") from None
    node = compose(text, str(path))
    if node is None or not isinstance(node.value, dict):
        place = f"{path}:{node.line}:{node.column}" if node else str(path)
        raise UserError(
            "must hold `key: value` lines", key=place, fix="See docs/sweeps.md for a complete file."
        )
    return node


def _place(node: Any, parts: list[str], value: Any, key: str) -> None:
    if not isinstance(node, dict):
        raise UserError("cannot be set: something above it is not a mapping", key=key)
    # The longest existing key wins, since fields of a space hold dots themselves.
    for size in range(len(parts), 0, -1):
        name = ".".join(parts[:size])
        if name in node or size == 1:
            if size == len(parts):
                node[name] = value
            else:
                if node.get(name) is None:
                    node[name] = {}
                _place(node[name], parts[size:], value, key)
            return


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
