"""What about a search cannot work, told before anything starts."""

from __future__ import annotations

from collections.abc import Iterator

from ...search_spaces.conditions import configurations, is_conditional
from ..errors import UserError, UserErrors
from ..search.draws import draw_errors
from ..search.samplers import sampler_errors
from ..search.storages import check_setting, check_storage
from .resolve import Resolved
from .search_spec import HubSampler

USE_CONSTRAINTS = ("tpe", "gp", "nsgaii")
"""Samplers that propose with the constraints in mind; the others find feasible points by chance."""


def check_search(resolved: Resolved, *, elsewhere: bool = False) -> None:
    """Refuse a search that cannot work.

    Args:
        resolved: the sweep, its space known.
        elsewhere: it will run on a cluster; what is reached from there is looked at there.

    Raises:
        UserErrors: everything that is wrong with sampler, storage and stop rule.
        Unreachable: the storage does not answer.
    """
    spec = resolved.spec
    errors = list(_stop_errors(resolved))
    try:
        check_setting(spec.search.storage)
    except UserError as error:
        errors.append(error)
    if not (elsewhere and isinstance(spec.search.sampler, HubSampler)):
        objectives = len(spec.objective.goals)
        refused = list(sampler_errors(spec.search, resolved.space, objectives))
        errors += refused or draw_errors(spec.search, resolved.space, objectives)
    if errors:
        raise UserErrors(errors)
    if not elsewhere:
        check_storage(spec.search.storage)


def search_warnings(resolved: Resolved) -> Iterator[str]:
    """What a search does otherwise than one might expect."""
    spec, sampler = resolved.spec, resolved.spec.search.sampler
    size = configurations(resolved.space)
    if size is not None and size < spec.search.trials:
        fewer = (
            "one configuration, so one trial is"
            if size == 1
            else f"{size} configurations, so {size} trials are"
        )
        yield f"search: the space has {fewer} run, not {spec.search.trials}"
    if spec.constraints and sampler not in USE_CONSTRAINTS and not isinstance(sampler, HubSampler):
        yield f"search: `{sampler}` does not look at the constraints when it proposes"
    if is_conditional(resolved.space) and sampler in ("gp", "cmaes"):
        yield f"search: `{sampler}` models what is searched in every trial; conditional parameters are drawn at random"
    if isinstance(sampler, HubSampler) and sampler.folder is None and sampler.ref == "main":
        yield "search: the sampler is whatever its registry holds on the day; name a commit with search.sampler.ref"


def _stop_errors(resolved: Resolved) -> Iterator[UserError]:
    stop, objectives = resolved.spec.stop, resolved.spec.objective.goals
    if stop.grace_steps and not resolved.spec.constraints:
        yield UserError(
            "is the time that constraints are given, and this sweep has none", key="stop.grace_steps",
            value=stop.grace_steps, fix="Leave it out; `stop.min_steps` says when judging begins.",
        )  # fmt: skip
    if len(objectives) < 2:
        return
    if stop.rule != "none":
        yield UserError(
            "judges one objective, and this sweep has several", key="stop.rule", value=stop.rule,
            fix="Leave it out (`none`), or make all but one objective a constraint.",
        )  # fmt: skip
    if getattr(stop, "patience", None) is not None:
        yield UserError(
            "judges one objective, and this sweep has several", key="stop.patience", value=stop.patience,
            fix="Leave it out, or make all but one objective a constraint.",
        )  # fmt: skip
