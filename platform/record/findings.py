"""Searched ranges that could not matter, and settings that were not at work.

Configurations tell part of it beforehand (a field nothing reads, a bound that cannot bind); the rest is in what the
trials reported, which each stage reads for itself, and in scores that cannot be told apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

from ...search_spaces.conditions import in_order, is_active
from ...search_spaces.parameters import Choice
from ...trainables.base import Evidence, SettingFinding, StageConfig, System, load_system
from ...trainables.config import parse
from ...trainables.names import ParameterName
from ..errors import UserError
from ..journal.state import SweepState, TrialState
from ..report.intervals import LEVEL, episode_values
from ..sweep.resolve import Resolved

MOST_COMBINATIONS = 256
"""Combinations of named values looked at for fields that none of them reads."""
FEWEST_COMPARED = 3
"""Finished trials from which their scores are compared."""

TrialConfigs = Mapping[str, Mapping[str, StageConfig]]
"""Configurations by trial and stage."""


def idle_ranges(resolved: Resolved) -> list[str]:
    """Searched fields that no combination of the named values searched along would read; for the plan.

    A field that is searched under a condition is looked for where the condition holds.
    """
    space, idle, read = resolved.space, dict[str, str](), set[str]()
    for values in _combinations({key: p.values for key, p in space.items() if isinstance(p, Choice)}):
        active: dict[str, Any] = {}
        for key in in_order(space):
            if is_active(space[key], active):
                active[key] = values.get(key)
        try:
            configs = resolved.amended({key: values[key] for key in active if key in values})
        except UserError:  # a combination that the fields refuse
            continue
        unread = _unread_in(configs)
        idle |= {key: unread[key] for key in active if key in unread}
        read |= {key for key in active if key not in unread}
    return [f"{key} is searched in vain: {why}" for key, why in idle.items() if key not in read]


def _combinations(choices: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values, or as many as are looked at, drawn alike each time."""
    total = math.prod(len(values) for values in choices.values())
    places = range(total) if total <= MOST_COMBINATIONS else Random(0).sample(range(total), MOST_COMBINATIONS)
    for place in places:
        found = {}
        for key, values in choices.items():
            place, chosen = divmod(place, len(values))
            found[key] = values[chosen]
        yield found


def findings(record: SweepState) -> list[SettingFinding]:
    """What can be said of the settings of a sweep's search trials, finished or not.

    Where the system is not installed here, only what needs none of it.
    """
    trials = record.phase("search")
    searched = list(dict.fromkeys(name for trial in trials for name in trial.params))
    found: list[SettingFinding] = []
    system = _system(record)
    if system is not None:
        configs = {trial.trial: _configs(trial, system) for trial in trials}
        found += [
            *_warned(configs),
            *_unread(configs, {trial.trial: trial.params for trial in trials}),
            *_observed(trials, system, configs, searched),
        ]
    return [*found, *_flat(record, trials, searched)]


def summarized(found: Iterable[SettingFinding]) -> list[SettingFinding]:
    """For a reader: findings that differ in their figures only, said once with the trials of all."""
    first: dict[tuple[str, str, str], SettingFinding] = {}
    for finding in found:
        key = (finding.rule, finding.setting, re.sub(r"[\d.]+(e[-+]?\d+)?", "", finding.reason))
        known = first.setdefault(key, finding)
        if known is not finding:
            first[key] = replace(known, trials=(*known.trials, *finding.trials))
    return list(first.values())


def trials_text(finding: SettingFinding, total: int) -> str:
    """Which trials a finding is of, in a few words."""
    names = finding.trials
    if len(names) == total:
        return "every trial" if total > 1 else names[0]
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _system(record: SweepState) -> System | None:
    try:
        return load_system(record.spec["system"])
    except (UserError, KeyError, ImportError):
        return None


def _configs(trial: TrialState, system: System) -> dict[str, StageConfig]:
    """The stages a trial went through; without those whose configuration another version has changed since."""
    found = {}
    for stage in system.stages:
        with suppress(UserError, KeyError):
            found[stage.name] = parse(stage.config_type, dict(trial.configs[stage.name]), stage.name)
        if stage.name == trial.through:
            break
    return found


def _unread_in(configs: Mapping[str, StageConfig]) -> dict[str, str]:
    return {f"{stage}.{name}": why for stage, c in configs.items() for name, why in c.unread().items()}


def _warned(configs: TrialConfigs) -> list[SettingFinding]:
    said: dict[tuple[str, str], list[str]] = {}
    for trial, stages in configs.items():
        for stage, config in stages.items():
            for text in config.warnings():
                said.setdefault((stage, text), []).append(trial)
    return [SettingFinding("warning", stage, text, tuple(names)) for (stage, text), names in said.items()]


def _unread(configs: TrialConfigs, params: Mapping[str, Collection[str]]) -> list[SettingFinding]:
    """Proposed values that the trial's other settings kept from being read; ``params`` are each trial's own."""
    said: dict[tuple[str, str], list[str]] = {}
    for trial, stages in configs.items():
        for key, reason in _unread_in(stages).items():
            if key in params[trial]:
                said.setdefault((key, reason), []).append(trial)
    return [
        SettingFinding("unread", key, f"{reason}; its value changed nothing", tuple(names))
        for (key, reason), names in said.items()
    ]


def _observed(
    trials: list[TrialState], system: System, configs: TrialConfigs, searched: list[str]
) -> list[SettingFinding]:
    found = []
    for stage in system.stages:
        names = map(ParameterName, searched)
        own = {name.bare for name in names if name.stage == stage.name}
        evidence = [
            Evidence(trial.trial, configs[trial.trial][stage.name], curves)
            for trial in trials
            if stage.name in configs[trial.trial] and (curves := _curves(trial, stage.name))
        ]
        if evidence:
            said = stage.findings(evidence, own)
            found += [replace(one, setting=f"{stage.name}.{one.setting}") for one in said]
    return found


def _curves(trial: TrialState, stage: str) -> dict[str, list[float]]:
    curves: dict[str, list[float]] = {}
    for report in trial.progress_reports:
        if report.stage == stage:
            for name, value in report.means().items():
                curves.setdefault(name, []).append(value)
    return curves


def _flat(record: SweepState, trials: list[TrialState], searched: list[str]) -> list[SettingFinding]:
    """Whether the finished trials scored alike: equal, or not told apart by Friedman's test over shared episodes."""
    metric = record.metric.bare
    scored = [
        (trial, last)
        for trial in trials
        if trial.status == "finished" and (last := trial.last_evaluation(metric)) is not None
    ]
    if len(scored) < FEWEST_COMPARED or not searched:
        return []
    values = [last.mean(metric) for _, last in scored]
    if max(values) == min(values):
        how = f"every one of {len(scored)} finished trials scored {values[0]:.4g}"
    else:
        p_value = _friedman([episode_values(metric, last.episodes) for _, last in scored])
        if not p_value >= 1 - LEVEL:
            return []
        how = (
            f"the scores of {len(scored)} finished trials, {min(values):.3g} to {max(values):.3g}, cannot be told "
            f"apart by the episodes they were scored on (Friedman's test, p = {p_value:.2g}); more episodes or seeds "
            "may"
        )
    names = tuple(trial.trial for trial, _ in scored)
    return [SettingFinding("objective_flat", ", ".join(searched), how, names)]


def _friedman(episodes: list[list[float]]) -> float:
    """p of a difference between trials, episode by episode, where there is none; NaN where that cannot be asked."""
    if len({len(values) for values in episodes}) != 1 or len(episodes[0]) < 2:
        return math.nan
    from scipy.stats import friedmanchisquare

    return float(friedmanchisquare(*episodes).pvalue)
