"""When a trial ends early. Every decision carries its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import optuna

from ..search.bridge import StudySearch
from ..sweep.goals import Goals
from ..sweep.stop_spec import Stop


@dataclass(frozen=True)
class Decision:
    """What becomes of a trial now.

    Attributes:
        action: ``retry``: it is taken up again by another worker.
        status: how the trial ends, when it does.
        rule: which rule decided.
        reason: why, in words with numbers.
        failure: the class of failure it ends with, if one.
        lanes: seeds to train at once when it is taken up again; None for all.
    """

    action: Literal["continue", "stop", "retry"]
    status: str = ""
    rule: str = ""
    reason: str = ""
    failure: str | None = None
    lanes: int | None = None


CONTINUE = Decision("continue")


def make_pruner(stop: Stop) -> optuna.pruners.BasePruner:
    """The Optuna pruner behind a stop rule; it judges from the values in Optuna's storage, so nothing else is kept."""
    if stop.rule == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=stop.first_step, reduction_factor=stop.reduction, min_early_stopping_rate=0
        )
    if stop.rule == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=stop.startup_trials, n_warmup_steps=stop.first_step - 1
        )
    return optuna.pruners.NopPruner()


def rungs(stop: Stop, steps: int) -> list[int]:
    """The steps at which ``asha`` judges, below the end of the stage."""
    if stop.rule != "asha":
        return []
    found, step = [], stop.first_step
    while step < steps:
        found.append(step)
        step *= stop.reduction
    return found


def judged(goals: Goals, stop: Stop, step: int, known: Mapping[str, float]) -> float | None:
    """What the rules are told of a trial that was scored at a step; None for nothing.

    With constraints that is nothing within the grace period, nor before every limited metric is known.
    """
    return None if goals.constraints and step < (stop.grace_steps or 0) else goals.judged(known)


def judge(
    search: StudySearch,
    stop: Stop,
    trial: str,
    step: int,
    steps: int,
    value: float,
    history: Sequence[float] = (),
    maximize: bool = True,
    broken: Sequence[str] = (),
) -> Decision:
    """Whether a trial that has just been scored goes on; the first rule that says no is named.

    Args:
        step: where it was scored.
        steps: where it would end anyway; never stopped there.
        value: its objective, or what stands for it where a limit is broken (:meth:`Goals.judged`).
        history: the same at every evaluation, this one last.
        maximize: whether larger is better.
        broken: the limits it does not keep, in words.
    """
    reached = f"{' and '.join(broken) or format(value, '.4g')} at step {step}"
    if not math.isfinite(value):
        reason = f"the objective is {value} at step {step}"
        return Decision("stop", "diverged", "divergence", reason, "diverged")
    if stop.patience is not None and stop.first_step <= step < steps:
        idle = evaluations_without_gain(history, stop.min_delta, maximize)
        if idle >= stop.patience:
            gain = f"better by more than {stop.min_delta:g}" if stop.min_delta else "better"
            reason = f"{reached}: none of the last {idle} evaluations was {gain}"
            return Decision("stop", "pruned", "patience", reason)
    if stop.rule == "none" or step >= steps or not search.unpromising(trial):
        return CONTINUE
    others = search.values_at(step)
    better = sum(
        other > value if search.study.direction.name == "MAXIMIZE" else other < value for other in others
    )
    kept = f"one in {stop.reduction} passes" if stop.rule == "asha" else "the better half passes"
    reason = f"{reached}: {better} of {len(others)} trials that got this far did better; {kept}"
    return Decision("stop", "pruned", stop.rule, reason)


def evaluations_without_gain(history: Sequence[float], min_delta: float, maximize: bool) -> int:
    """How many of the newest evaluations have not bettered the best before them by more than ``min_delta``."""
    best, idle = -math.inf, 0
    for value in history if maximize else [-value for value in history]:
        if value > best + min_delta:
            best, idle = value, 0
        else:
            idle += 1
    return idle
