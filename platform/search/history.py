"""What earlier sweeps found, for a search to learn from before it proposes: only what is a point of its own space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from ...search_spaces.conditions import in_order, is_active
from ...search_spaces.parameters import Choice, Integer, Space, same_value
from ...trainables.names import ParameterName
from ...trainables.source_ref import SourceRef
from ..errors import Refused, UserError, nearest
from ..journal.state import SweepState, TrialState, read_sweep
from ..paths import Home
from ..report.ranking import finished_score
from ..sweep.goals import Goals
from ..sweep.resolve import Resolved
from .distributions import active_distributions


@dataclass(frozen=True)
class Taken:
    """What an earlier sweep gives.

    Attributes:
        sweep: its name.
        taken: trials learnt from.
        left_out: by reason, finished trials that are no point of the space searched now.
        differs: in what the two sweeps differ, where they are taken all the same.
    """

    sweep: str
    taken: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    differs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for the record."""
        return asdict(self)


def earlier_trials(
    resolved: Resolved, fingerprint: str, home: Home
) -> tuple[list[FrozenTrial], tuple[Taken, ...]]:
    """Finished trials of the sweeps named in ``search.from``, in Optuna's form, and what was taken from each.

    Args:
        resolved: the sweep that learns from them.
        fingerprint: of its data.
        home: where the earlier ones are recorded.

    Raises:
        UserError: there is no such sweep.
        Refused: one was on other data, or after something else; ``search.from_anyway`` takes it all the same.
    """
    found: list[FrozenTrial] = []
    reports = []
    for name in resolved.spec.search.from_:
        record = _record(home, name)
        differs = tuple(_differences(resolved, fingerprint, record))
        if differs and not resolved.spec.search.from_anyway:
            raise Refused(
                f"`{name}` differs in what its values mean: {'; '.join(differs)}",
                key="search.from",
                value=name,
                fix="Leave it out, or set search.from_anyway: true if its values are to be believed here.",
            )
        trials, left_out = _fitting(resolved, record)
        found += trials
        reports.append(Taken(name, len(trials), dict(left_out), differs))
    return found, tuple(reports)


def _record(home: Home, name: str) -> SweepState:
    paths = home.sweep(name)
    if not paths.journal.exists():
        known = [folder.name for folder in home.sweeps.glob("*")] if home.sweeps.exists() else []
        fix = nearest(name, known) if known else "None is on record yet."
        raise UserError("there is no sweep of this name", key="search.from", value=name, fix=fix)
    return read_sweep(paths, keep_reports=False)


def _differences(resolved: Resolved, fingerprint: str, record: SweepState) -> Iterator[str]:
    spec, then = resolved.spec, record.spec
    if not then:
        yield "it was recorded no further than its name"
        return
    if then["system"] != spec.system:
        yield f"system {then['system']} there, {spec.system} here"
    if text := _source_difference(spec.source, fingerprint, record):
        yield text
    goals, ours = Goals.recorded(then), Goals.of(spec)
    if [(g.metric, g.direction) for g in goals.objectives] != [
        (g.metric, g.direction) for g in ours.objectives
    ]:
        yield f"objective {_spoken(goals)} there, {_spoken(ours)} here"
    if {limit.text for limit in goals.constraints} != {limit.text for limit in ours.constraints}:
        there = ", ".join(limit.text for limit in goals.constraints) or "none"
        yield f"constraints {there} there, {', '.join(limit.text for limit in ours.constraints) or 'none'} here"
    yield from _setting_differences(resolved, record)


def _source_difference(here: SourceRef, fingerprint: str, record: SweepState) -> str | None:
    there, then = record.source, record.source_facts.get("fingerprint", "")
    if there.kind != here.kind:
        return f"{there} there, {here} here"
    if then == fingerprint:
        return None
    if there.name != here.name:
        return f"{there} there, {here.name} here"
    return f"{here.kind} fingerprint {then[:12]} there, {fingerprint[:12]} here"


def _setting_differences(resolved: Resolved, record: SweepState) -> Iterator[str]:
    """Settings searched by neither of the two that are not equal in both."""
    then = record.phase("search")
    searched = set(resolved.space) | {key for trial in then for key in trial.params}
    configs = next((trial.configs for trial in then), {})
    for stage, config in resolved.configs.items():
        here = config.model_dump(mode="json")
        for name, value in here.items():
            there = configs.get(stage, {}).get(name, value)
            if f"{stage}.{name}" not in searched and there != value:
                yield f"{stage}.{name} {there} there, {value} here"


def _fitting(resolved: Resolved, record: SweepState) -> tuple[list[FrozenTrial], Counter[str]]:
    goals, base = Goals.of(resolved.spec), resolved.configs
    trials: list[FrozenTrial] = []
    left_out: Counter[str] = Counter()
    for trial in record.phase("search"):
        score = finished_score(goals, trial)
        if score is None:
            continue
        outside = {key: value for key, value in trial.params.items() if key not in resolved.space}
        for key, value in outside.items():
            stage, name = ParameterName(key).stage, ParameterName(key).bare
            if stage not in base or getattr(base[stage], name, None) != value:
                left_out[f"{key} is not searched here and is another there"] += 1
                break
        else:
            params, why = _params(resolved.space, trial)
            if why:
                left_out[why] += 1
            else:
                trials.append(_frozen(record, trial, resolved.space, params, score))
    return trials, left_out


def _params(space: Space, trial: TrialState) -> tuple[dict[str, Any], str]:
    """A trial's values of what is searched now, also where it had them from its preset; or why it does not fit."""
    params: dict[str, Any] = {}
    for key in in_order(space):
        if not is_active(space[key], params):
            continue
        stage, name = ParameterName(key).stage, ParameterName(key).bare
        value = trial.configs.get(stage, {}).get(name, trial.params.get(key))
        if value is None:
            return {}, f"{key} is not known there"
        if not _contains(space[key], value):
            return {}, f"{key} is out of range"
        params[key] = value
    return params, ""


def _contains(parameter: Any, value: Any) -> bool:
    if isinstance(parameter, Choice):
        return any(same_value(value, choice) for choice in parameter.values)
    if isinstance(value, bool | str) or (isinstance(parameter, Integer) and not isinstance(value, int)):
        return False
    return parameter.low <= value <= parameter.high


def _frozen(
    record: SweepState, trial: TrialState, space: Space, params: Mapping[str, Any], score: Any
) -> FrozenTrial:
    return create_trial(
        state=OptunaState.COMPLETE,
        values=list(score.values),
        params=dict(params),
        distributions=active_distributions(space, params),
        user_attrs={"from": f"{record.name}/{trial.trial}"},
        constraints=dict(score.excess) or None,
    )


def _spoken(goals: Goals) -> str:
    return " and ".join(f"{goal.direction} {goal.metric}" for goal in goals.objectives)


def taken_text(taken: Mapping[str, Any]) -> str:
    """What was taken from one sweep, in a line; ``taken`` as on record."""
    left = sum(taken["left_out"].values())
    why = (
        f", {left} left out ({', '.join(f'{n}: {reason}' for reason, n in taken['left_out'].items())})"
        if left
        else ""
    )
    anyway = f"; taken although {'; '.join(taken['differs'])}" if taken["differs"] else ""
    return f"learns of {taken['sweep']}: {taken['taken']} finished trials{why}{anyway}"
