"""Taking a sweep further than it was meant to go: what may change, and trials that go on from where they ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...search_spaces.parameters import Choice
from ...trainables.base import load_system
from ...trainables.events import Event
from ...trainables.names import MetricName
from ..errors import Refused
from ..journal.events import TrialExtended
from ..journal.state import SweepState, TrialStatus, read_sweep
from ..paths import SweepPaths
from ..sweep.plan import Plan
from ..sweep.spec import SweepSpec, read_spec

EXTENDABLE = (
    "search.trials",
    "search.sampler",
    "search.sampler_options",
    "stop",
    "budget",
    "confirm",
    "resources",
    "tracking",
    "checkpoints",
    "storage",
    "space",
)
"""Settings that may change on the way: none of them alters what a trial with given parameters computes."""


def checked_extension(changes: Mapping[str, str], paths: SweepPaths) -> None:
    """Refuse to extend a sweep by what would make its trials incomparable.

    Raises:
        Refused: a setting decides what trials compute, or the sweep is already further than asked for.
        UserError: a setting is not valid.
    """
    if not paths.spec.exists():
        return
    old, new = read_spec(paths.spec), read_spec(paths.spec, changes)
    longer = _lengthened(old)
    for key, value in changes.items():
        if key == longer:
            _check_steps(old, new, key, value)
        elif not any(key == allowed or key.startswith(f"{allowed}.") for allowed in EXTENDABLE):
            more = f", {longer} (more of them)" if longer else ""
            raise Refused(
                "decides what trials compute, so old and new ones could not be compared",
                key=key,
                value=value,
                fix=f"Start a new sweep with it; an extension may change {', '.join(EXTENDABLE)}{more}.",
            )
    _check_space(old, new)
    if "search.trials" in changes and paths.journal.exists():
        there = len(read_sweep(paths, keep_reports=False).phase("search"))
        if new.search.trials < there:
            raise Refused(
                f"the sweep already has {there} trials",
                key="search.trials",
                value=changes["search.trials"],
                fix="The number counts the old ones too; give a larger one.",
            )


def take_further(plan: Plan, state: SweepState, record: Callable[[Event, str], Any]) -> None:
    """Put on record which trials go on to a later end of their last stage; finished ones are thereby reopened.

    Trials that were stopped early or failed stay as they are.

    Args:
        state: what is on record.
        record: puts an event of a trial on record.
    """
    for trial in list(state.trials.values()):
        if trial.request is None or (trial.status.is_final and trial.status is not TrialStatus.FINISHED):
            continue
        stage, configs = trial.request.through, trial.request.configs
        then, now = configs[stage]["steps"], plan.resolved.trial_configs(trial.params)[stage]["steps"]
        if now > then:
            configs = {**configs, stage: {**configs[stage], "steps": now}}
            longer = {"configs": configs, "ends": (*trial.request.ends, then)}
            request = trial.request.model_copy(update=longer)
            event = TrialExtended(
                stage=stage, previous_steps=then, steps=now, configs=configs, request=request
            )
            record(event, trial.trial)


def _lengthened(spec: SweepSpec) -> str | None:
    """The setting that takes finished trials further, where there is one: a trial's own last stage must be open-ended."""
    system = load_system(spec.system)
    last, objective = system.stages[-1], MetricName(spec.objective.metric).stage
    return f"stages.{last.name}.steps" if last.name == objective and last.open_ended else None


def _check_steps(old: SweepSpec, new: SweepSpec, key: str, value: str) -> None:
    stage = key.split(".")[1]
    then = (
        old.stages.get(stage, {}).get("steps") or load_system(old.system).presets[old.preset]()[stage].steps
    )
    now = new.stages[stage]["steps"]
    if not isinstance(now, int) or now < then:
        raise Refused(
            f"trials have already gone {then:,} steps, or are to",
            key=key,
            value=value,
            fix="Give a larger whole number; finished trials then go on from their last checkpoint.",
        )


def _check_space(old: SweepSpec, new: SweepSpec) -> None:
    if isinstance(old.space, str) or isinstance(new.space, str):
        return
    for key in sorted({*old.space} ^ {*new.space}):
        raise Refused(
            "is searched by the sweep's trials" if key in old.space else "was not searched before",
            key=f"space.{key}",
            fix="An extension may change ranges, not what is searched; start a new sweep for that.",
        )
    for key, then in old.space.items():
        now = new.space[key]
        if type(then) is not type(now) or getattr(then, "when", {}) != getattr(now, "when", {}):
            raise Refused(
                "becomes another kind of parameter, so that old trials are no points of the new space",
                key=f"space.{key}",
                fix="Change its range only, or start a new sweep.",
            )
        if isinstance(now, Choice) and not set(now.values):
            raise Refused("has no values left", key=f"space.{key}")
