"""Which searched parameters mattered, by Optuna's estimator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial

from ...search_spaces.parameters import Space
from ..search.distributions import distribution

FEWEST_TRIALS = 8
"""Below this an estimate says more about chance than about parameters."""


@dataclass(frozen=True)
class Importance:
    """Shares of the difference between good and other trials, adding up to 1, and who estimated them."""

    shares: Mapping[str, float]
    evaluator: str


def parameter_importance(
    space: Space, trials: Sequence[tuple[Mapping[str, Any], float]], direction: str
) -> Importance | None:
    """Estimate how much each searched parameter mattered (PED-ANOVA, Watanabe et al. 2023, arXiv:2304.10255).

    Args:
        space: what was searched.
        trials: parameters and objective of every finished trial.
        direction: ``maximize`` or ``minimize``.

    Returns:
        None with fewer than :data:`FEWEST_TRIALS` usable trials, fewer than two parameters, or no difference.
    """
    # What is searched only beside some values of others is no part of the comparison.
    always = [name for name, parameter in space.items() if not parameter.when]
    distributions = {name: distribution(space[name]) for name in always}
    usable = [
        frozen
        for params, value in trials
        if math.isfinite(value) and (frozen := _frozen(params, value, distributions))
    ]
    if len(usable) < FEWEST_TRIALS or len(always) < 2 or len({trial.value for trial in usable}) < 2:
        return None
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # loads scikit-learn

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=StudyDirection[direction.upper()])
    study.add_trials(usable)
    evaluator = PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = get_param_importances(study, evaluator=evaluator)
    if not shares or not all(math.isfinite(share) for share in shares.values()) or not sum(shares.values()):
        return None
    return Importance(shares, "PED-ANOVA (Optuna)")


def _frozen(
    params: Mapping[str, Any], value: float, distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial | None:
    """A finished trial; None when it lies outside the space (a fixed point, or the space has been changed)."""
    if not set(distributions) <= set(params):
        return None
    try:
        return create_trial(
            params={name: params[name] for name in distributions},
            distributions=dict(distributions),
            value=value,
        )
    except ValueError:
        return None
