"""Frozen, typed configuration: unknown keys refused, every mistake explained in the user's words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import UserError, UserErrors, nearest

LARGEST = 2**63 - 1
"""The largest whole number that a configuration may hold: beyond it every library that computes gives up."""
LANE = "lane"  # key in a field's metadata: the value may differ between the lanes of one fused program


class FrozenConfig(BaseModel):
    """Base of everything a user configures. Immutable; lists become tuples; numbers are finite and not guessed from text."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def lane_field(default: Any = ..., **rules: Any) -> Any:
    """A scalar hyperparameter that may differ between lanes of a fused program (held as a ``[P]`` tensor)."""
    return Field(default, json_schema_extra={LANE: True}, **rules)


def is_lane_field(config_type: type[FrozenConfig], name: str) -> bool:
    """Whether a field may differ between the lanes of one fused program."""
    extra = config_type.model_fields[name].json_schema_extra
    return bool(isinstance(extra, dict) and extra.get(LANE))


C = TypeVar("C", bound=BaseModel)


def parse(config_type: type[C], values: Any, where: str = "") -> C:
    """Read ``values`` as ``config_type``.

    Args:
        config_type: the model to read into.
        values: what the user wrote, already parsed from YAML or JSON.
        where: prefix for key names in messages (``stages.refine``).

    Raises:
        UserErrors: naming every wrong key, its value, the rule it breaks and the way out.
    """
    if beyond := list(_beyond(values, ())):
        rule = "is a whole number beyond 63 bits"
        raise UserErrors([UserError(rule, key=_key(where, path), value=value) for path, value in beyond])
    try:
        # JSON mode: strict about types, yet a YAML list may fill a tuple and a mapping a nested model.
        return config_type.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        found = [(_written_path(item, values), item) for item in error.errors()]
        # A union reports each branch that failed; the branch that went deepest is the one the user meant.
        deeper = {path[:size] for path, _ in found for size in range(len(path))}
        first = {path: item for path, item in reversed(found) if path not in deeper}
        raise UserErrors([_explain(i, p, config_type, where) for p, i in reversed(first.items())]) from None


def _beyond(values: Any, path: tuple) -> Iterator[tuple[tuple, int]]:
    """Whole numbers that nothing below can hold, each with its place."""
    if isinstance(values, int) and abs(values) > LARGEST:
        yield path, values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from _beyond(value, (*path, key))
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from _beyond(value, (*path, index))


def _written_path(item: Mapping[str, Any], values: Any) -> tuple:
    """The location of a mistake in the user's own keys, without the names of union branches."""
    path: list[str | int] = []
    node: Any = values
    for position, part in enumerate(item["loc"]):
        last = position == len(item["loc"]) - 1
        if (isinstance(node, Mapping) and part in node) or (
            isinstance(node, list | tuple) and isinstance(part, int)
        ):
            node = node[part]
        elif not (last and item["type"] == "missing"):
            continue
        path.append(part)
    return tuple(path)


def _explain(item: Mapping[str, Any], path: tuple, config_type: type[BaseModel], where: str) -> UserError:
    key = _key(where, path)
    if item["type"] == "extra_forbidden":
        known = _fields_at(config_type, path[:-1])
        fix = nearest(str(path[-1]), known) if known else None
        if fix and not fix.startswith("Did you mean") and (below := _below(config_type, str(path[-1]))):
            fix = f"Did you mean `{_key(where, (*path[:-1], below))}`?"
        return UserError("unknown key", key=key, fix=fix)
    if item["type"] == "missing":
        return UserError("is required and missing", key=key, fix=_description(config_type, path))
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    shown = {} if isinstance(item.get("input"), dict) else {"value": item.get("input")}
    fix = _description(config_type, path)
    if item["type"] == "string_type" and isinstance(item.get("input"), int | float):
        fix = " ".join(filter(None, ("Put it in quotes if it is meant as text.", fix)))
    return UserError(message, key=key, fix=fix, **shown)


def _key(where: str, path: tuple) -> str:
    return ".".join([*([where] if where else []), *map(str, path)]) or "the file"


def _fields_at(config_type: type[BaseModel], path: tuple) -> list[str]:
    model = _model_at(config_type, path)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _below(config_type: type[BaseModel], name: str) -> str | None:
    """Where a key of that very name stands one level below, if it stands in one place only."""
    found = [
        f"{part}.{name}"
        for part, field in config_type.model_fields.items()
        for model in _models_in(field.annotation)
        if name in model.model_fields
    ]
    return found[0] if len(found) == 1 else None


def _description(config_type: type[BaseModel], path: tuple) -> str | None:
    model = _model_at(config_type, path[:-1]) if path else None
    field = model.model_fields.get(str(path[-1])) if model else None
    if field is None or not field.description:
        return None
    first_sentence = " ".join(field.description.split()).split(". ")[0].rstrip(".")
    return f"It means: {first_sentence}."


def _model_at(config_type: type[BaseModel], path: tuple) -> type[BaseModel] | None:
    model: Any = config_type
    for part in path:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        candidates = [] if field is None else _models_in(field.annotation)
        if not candidates:
            return None
        model = candidates[0]
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in getattr(annotation, "__args__", ()) for model in _models_in(arg)]
