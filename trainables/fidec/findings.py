"""What the metrics of a sweep's refinements say about which setting held the policy. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TypeVar

from ..base import Evidence, SettingFinding
from .config import RefineConfig, RefinementFields

NEVER_ACTIVE = 0.05
"""Share of updates below which the constraint counts as not active; noise of the batch alone reaches a few."""
NOT_HELD = 1.5
"""Penalty over radius, at the last report, from which the radius counts as not held."""
AT_BOUND = 0.01
"""Relative distance of the multiplier from a bound within which it counts as standing there."""

C = TypeVar("C", bound=RefinementFields)


def radius_findings(trials: Sequence[Evidence[C]], searched: Collection[str]) -> list[SettingFinding]:
    """Radii that were never reached, and radii that the multiplier did not hold."""
    held = [trial for trial in trials if trial.config.constraint != "fixed_alpha" and _reported(trial)]
    found = []
    slack = [trial for trial in held if max(trial.curves["constraint_active"]) < NEVER_ACTIVE]
    if slack and "kl_radius" in searched:
        found.append(_slack(slack, len(slack) == len(held)))
    loose = [trial for trial in held if trial.curves["penalty_over_radius"][-1] > NOT_HELD]
    if loose:
        largest = max(trial.curves["penalty_over_radius"][-1] for trial in loose)
        found.append(
            SettingFinding(
                "radius_not_held",
                "kl_radius",
                f"at the last report the penalty was up to {largest:.3g} times the radius: the multiplier had not "
                "caught up, so that alpha_init, its learning rate and steps limited the policy, not kl_radius",
                _names(loose),
            )
        )
    return found


def multiplier_findings(trials: Sequence[Evidence[RefineConfig]]) -> list[SettingFinding]:
    """Multipliers that ended at a bound."""
    found = []
    for bound, meaning in (
        ("log_alpha_min", "the constraint was slack, and kl_radius had no say"),
        ("log_alpha_max", "the penalty could be made no dearer; raise it, or kl_radius"),
    ):
        pinned = [
            trial
            for trial in trials
            if trial.config.constraint == "lagrange"
            and trial.curves.get("alpha")
            and math.isclose(
                trial.curves["alpha"][-1], math.exp(getattr(trial.config, bound)), rel_tol=AT_BOUND
            )
        ]
        if pinned:
            reason = f"alpha ended at the bound this sets ({pinned[0].curves['alpha'][-1]:.3g}): {meaning}"
            found.append(SettingFinding("alpha_at_bound", bound, reason, _names(pinned)))
    return found


def _slack(trials: Sequence[Evidence[C]], all_of_them: bool) -> SettingFinding:
    nearest = max(max(trial.curves["penalty_over_radius"]) for trial in trials)
    radii = [trial.config.kl_radius for trial in trials]
    where = (
        "in any trial: its range had no effect"
        if all_of_them
        else "in these trials: their value had no effect"
    )
    reason = (
        f"the constraint was not active {where} (radius {min(radii):.3g} to {max(radii):.3g}, "
        f"penalty at most {nearest:.2g} of it)"
    )
    return SettingFinding("constraint_slack", "kl_radius", reason, _names(trials))


def _reported(trial: Evidence[C]) -> bool:
    return bool(trial.curves.get("constraint_active") and trial.curves.get("penalty_over_radius"))


def _names(trials: Sequence[Evidence[C]]) -> tuple[str, ...]:
    return tuple(trial.trial for trial in trials)
