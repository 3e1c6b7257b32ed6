"""A stage's configuration made from the class that a training function takes its settings by."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import BaseModel, Field, create_model, model_validator

from ..base import StageConfig
from ..errors import UserError

STEPS = "steps"


class FunctionConfig(StageConfig):
    """Base of them all."""

    users_type: ClassVar[type]

    def as_given(self) -> Any:
        """The same as an instance of the user's own class."""
        if isinstance(self, self.users_type):
            return self
        return self.users_type(**{name: getattr(self, name) for name in type(self).model_fields})


class DataclassConfig(FunctionConfig):
    """Base of those made from a dataclass."""

    @model_validator(mode="after")
    def _as_its_class_allows(self):
        """What ``__post_init__`` refuses is refused by the plan."""
        try:
            self.as_given()
        except (AssertionError, TypeError) as error:
            raise ValueError(str(error) or type(error).__name__) from error
        return self


def config_of(function: Callable[..., Any], where: str) -> type[FunctionConfig]:
    """The configuration of a function's stage.

    Args:
        where: the function as its user knows it.

    Raises:
        UserError: its first argument has no such annotation, or a field cannot be used.
    """
    given = _annotation(function, where)
    if dataclasses.is_dataclass(given):
        made = _from_dataclass(given, where)
    else:
        made = type(given.__name__, (given, FunctionConfig), {"__module__": given.__module__})
    made.users_type = given
    _check(made, where)
    return made


def _annotation(function: Callable[..., Any], where: str) -> type:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) < 1:
        raise UserError("takes no arguments", key="system", value=where, fix=f"Write {_FORM}.")
    try:
        given = typing.get_type_hints(function).get(parameters[0])
    except Exception as error:
        raise UserError(f"its annotations cannot be read: {error}", key="system", value=where) from None
    if not isinstance(given, type) or not (dataclasses.is_dataclass(given) or issubclass(given, BaseModel)):
        raise UserError(
            f"`{parameters[0]}` says by no annotation which settings there are", key="system", value=where,
            fix=f"Annotate it with a frozen dataclass or a pydantic model: {_FORM}.",
        )  # fmt: skip
    return given


_FORM = "`def train(config: Config, report): ...`"


def _from_dataclass(given: type, where: str) -> type[FunctionConfig]:
    hints = typing.get_type_hints(given)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(given):
        if not field.init:
            continue
        if field.default_factory is not dataclasses.MISSING:
            default: Any = Field(default_factory=field.default_factory)
        elif field.default is not dataclasses.MISSING:
            default = field.default
        else:
            default = ...
        fields[field.name] = (hints[field.name], default)
    if STEPS in fields:
        fields[STEPS] = (int, Field(default=fields[STEPS][1], gt=0))
    try:
        return create_model(given.__name__, __base__=DataclassConfig, __module__=given.__module__, **fields)
    except Exception as error:
        raise UserError(
            f"`{given.__name__}` cannot be read from a sweep file: {error}", key="system", value=where,
            fix="Use numbers, text, booleans, and tuples, mappings or dataclasses of them.",
        ) from None  # fmt: skip


def _check(made: type[FunctionConfig], where: str) -> None:
    users = made.users_type
    has_steps = STEPS in (
        {field.name for field in dataclasses.fields(users)} if dataclasses.is_dataclass(users)
        else getattr(users, "model_fields", {})
    )  # fmt: skip
    if not has_steps:
        raise UserError(
            f"`{users.__name__}` does not say how long a run is", key="system", value=where,
            fix="Add `steps: int = 100`; a step is whatever `report` counts: an update, an epoch.",
        )  # fmt: skip
    needed = [name for name, field in made.model_fields.items() if field.is_required()]
    if needed:
        raise UserError(
            f"`{users.__name__}` has no default for {', '.join(f'`{name}`' for name in needed)}",
            key="system", value=where, fix="Give one; what a sweep searches or sets takes its place.",
        )  # fmt: skip
