"""YAML as a careful user expects it: 3e-4 is a number, a repeated key is a mistake, errors name the line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 floats (1.1 reads ``3e-4`` as text) and no silent overwriting of keys."""

    def construct_mapping(self, node, deep=False):
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key `{key}` appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?((\d[\d_]*\.?[\d_]*|\.\d+)[eE][-+]?\d+|\d[\d_]*\.[\d_]*|\.\d+)$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: it cannot be read, is not YAML, or is not a mapping.
    """
    try:
        value = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", key=str(path)) from None
    if not isinstance(value, dict):
        raise UserError(
            "must hold `key: value` lines", key=str(path), fix="See docs/sweeps.md for a complete file."
        )
    return value


def parse_yaml(text: str, where: str) -> Any:
    """A value in YAML notation; mistakes name ``where`` and the line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"is not valid YAML{line}: {error.problem}", key=where) from None
    except yaml.YAMLError as error:
        raise UserError(f"is not valid YAML: {error}", key=where) from None


def dump_yaml(value: Mapping[str, Any]) -> str:
    """A mapping as YAML, keys in their own order."""
    return yaml.safe_dump(_plain(value), sort_keys=False, allow_unicode=True)


def overridden(values: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    """``values`` with dotted keys replaced; values are in YAML notation.

    A key may be written with its own dots when it exists so (``space.refine.kl_radius.low``).
    """
    result = _plain(values)
    for key, text in overrides.items():
        _place(result, key.split("."), parse_yaml(text, key), key)
    return result


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
