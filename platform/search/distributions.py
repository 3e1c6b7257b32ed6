"""Search parameters in Optuna's form, and configurations drawn from it in the order their conditions ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ...search_spaces.conditions import in_order, is_active
from ...search_spaces.parameters import Choice, Integer, Space


def distribution(parameter: Any) -> BaseDistribution:
    """Optuna's form of a search parameter."""
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Draw every parameter that is active, each after those it depends on."""
    params: dict[str, Any] = {}
    for key in in_order(space):
        if is_active(space[key], params):
            params[key] = drawn(trial, key, space[key])
    return params


def active_distributions(space: Space, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Distributions of the parameters that are searched beside these values."""
    return {key: distribution(space[key]) for key in params if key in space}


def same_configuration(params: Mapping[str, Any]) -> str:
    """A text that is equal for equal configurations: by :func:`~flowsweep.search_spaces.parameters.same_value`."""
    plain = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in params.items()
    }
    return json.dumps(plain, sort_keys=True)


def drawn(trial: optuna.Trial, key: str, parameter: Any) -> Any:
    """One parameter's value, as the study's sampler draws it."""
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(key, parameter.values)
    if isinstance(parameter, Integer):
        return trial.suggest_int(key, parameter.low, parameter.high, log=parameter.log)
    return trial.suggest_float(key, parameter.low, parameter.high, log=parameter.log)
