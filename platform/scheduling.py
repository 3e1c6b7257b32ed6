"""When a trial ends early. Every decision carries its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import optuna

from .search import StudySearch
from .spec import Stop


@dataclass(frozen=True)
class Decision:
    """What becomes of a trial now.

    Attributes:
        status: how the trial ends, when it does.
        rule: which rule decided.
        reason: why, in words with numbers.
    """

    action: Literal["continue", "stop"]
    status: str = ""
    rule: str = ""
    reason: str = ""


CONTINUE = Decision("continue")


def make_pruner(stop: Stop) -> optuna.pruners.BasePruner:
    """The Optuna pruner behind a stop rule; it judges from the values in Optuna's storage, so nothing else is kept."""
    if stop.rule == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=stop.min_steps, reduction_factor=stop.reduction, min_early_stopping_rate=0
        )
    if stop.rule == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=stop.startup_trials, n_warmup_steps=stop.min_steps - 1
        )
    return optuna.pruners.NopPruner()


def rungs(stop: Stop, steps: int) -> list[int]:
    """The steps at which ``asha`` judges, below the end of the stage."""
    if stop.rule != "asha":
        return []
    count = (
        max(0, math.ceil(math.log(steps / stop.min_steps, stop.reduction))) if steps > stop.min_steps else 0
    )
    return [
        stop.min_steps * stop.reduction**k for k in range(count) if stop.min_steps * stop.reduction**k < steps
    ]


def judge(search: StudySearch, stop: Stop, trial: str, step: int, steps: int, value: float) -> Decision:
    """Whether a trial that has just been scored goes on.

    Args:
        step: where it was scored.
        steps: where it would end anyway; never stopped there.
        value: its objective.
    """
    if not math.isfinite(value):
        return Decision("stop", "diverged", "divergence", f"the objective is {value} at step {step}")
    if stop.rule == "none" or step >= steps or not search.unpromising(trial):
        return CONTINUE
    others = search.values_at(step)
    better = sum(
        other > value if search.study.direction.name == "MAXIMIZE" else other < value for other in others
    )
    kept = f"one in {stop.reduction} passes" if stop.rule == "asha" else "the better half passes"
    reason = (
        f"{value:.4g} at step {step}: {better} of {len(others)} trials that got this far did better; {kept}"
    )
    return Decision("stop", "pruned", stop.rule, reason)
