"""Looking a dataset over before anything learns from it.

Legend: E episodes, N transitions, A action size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UserError
from .dataset import Finding
from .metadata import Metadata
from .source import Entry, RawEpisodes, Spaces

_USUAL_WRAPPERS = frozenset(
    {"TimeLimit", "OrderEnforcing", "PassiveEnvChecker", "DataCollector", "StepDataCollector"}
)
CLIP = 1e-5
"""Distance kept from the bounds of [-1, 1]."""
_MANY_AT_BOUND = _MANY_TERMINAL = 0.5
_BEYOND_TOLERANCE = 1e-6
_LOST, _LITTLE = 1e-3, 0.02
"""Shares of the action box from which on what is used of it is nothing, or little."""
_LARGE_REWARD = 1e9


def refuse_non_finite(raw: RawEpisodes, name: str) -> None:
    """Stop at a NaN or an infinity.

    Raises:
        UserError: naming what is not finite, and the first episode it is in.
    """
    ends = np.cumsum(raw.lengths)
    for field, values, edges in (
        ("observations", raw.states, ends + np.arange(1, len(ends) + 1)),
        ("actions", raw.actions, ends),
        ("rewards", raw.rewards, ends),
    ):
        # A sum is not finite if any term is not; the costly search happens only then.
        with np.errstate(invalid="ignore"):
            if np.isfinite(values.sum(dtype=np.float64)):
                continue
        wrong = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
        if len(wrong):
            episode = int(np.searchsorted(edges, wrong[0], side="right"))
            raise UserError(
                f"{field} are not finite in {len(wrong)} places, first in episode {episode}",
                key="dataset",
                value=name,
                fix="Drop or repair those episodes; nothing can be learnt from them. Learners compute in float32.",
            )


def refuse_unfit_rewards(stored: np.ndarray, rewards: np.ndarray, name: str) -> None:
    """Stop at rewards that are no numbers once they are what learners read.

    Args:
        stored: [N] float64, as they are in the files.
        rewards: [N] float32.

    Raises:
        UserError: some are not finite.
    """
    wrong = ~np.isfinite(rewards)
    if wrong.any():
        raise UserError(
            f"{wrong.sum()} rewards are beyond what float32 holds, such as {stored[wrong][0]:g}",
            key="dataset",
            value=name,
            fix="Scale the rewards when the dataset is written, so that returns are of the order of 1 to 10,000.",
        )


def scale_actions(actions: np.ndarray, spaces: Spaces, name: str) -> tuple[np.ndarray, list[Finding]]:
    """Map the action box to [-1, 1] and keep clear of its faces.

    Args:
        actions: [N, A] in the environment's units.

    Returns:
        [N, A] float32 in [-(1 - 1e-5), 1 - 1e-5], and what was noticed.

    Raises:
        UserError: actions use so little of the box that nothing is left of them on that scale.
    """
    centre, reach = (spaces.action_high + spaces.action_low) / 2, (spaces.action_high - spaces.action_low) / 2
    scaled = (actions - centre) / reach
    findings = _range_used(np.clip(scaled, -1, 1), actions, spaces, name)
    beyond = float((np.abs(scaled) > 1 + _BEYOND_TOLERANCE).mean())
    if beyond:
        findings.append(
            _warning(
                f"{beyond:.2%} of action entries lie beyond the declared bounds, at most "
                f"{np.abs(scaled).max():.3g} times as far out; they are clipped"
            )
        )
    at_bound = float((np.abs(scaled) >= 1 - CLIP).mean())
    if at_bound > _MANY_AT_BOUND:
        findings.append(
            _warning(f"{at_bound:.0%} of action entries are at a bound, where a flow has little to model")
        )
    elif at_bound:
        findings.append(_note(f"{at_bound:.1%} of action entries are at a bound"))
    limit = np.float32(1 - CLIP)
    return np.clip(scaled.astype(np.float32), -limit, limit), findings


def _range_used(scaled: np.ndarray, actions: np.ndarray, spaces: Spaces, name: str) -> list[Finding]:
    """What share of its bounds every action entry uses, leaving out the hundredth part at either end.

    Noise of a flow is as large as the box: where actions are a thousandth of it, they are lost in what it cannot tell
    apart.
    """
    low, high = np.quantile(scaled, (0.01, 0.99), axis=0)
    share = (high - low) / 2
    constant = actions.min(axis=0) == actions.max(axis=0)
    if constant.all():
        return [_warning("every action is the same: there is nothing to imitate")]
    findings = []
    if constant.any():
        entries = ", ".join(str(entry) for entry in np.flatnonzero(constant))
        findings.append(_note(f"action entries that never change: {entries}"))
    least = int(np.where(constant, np.inf, share).argmin())
    bounds = f"{spaces.action_low[least]:g} to {spaces.action_high[least]:g}"
    # Shown as they are used: quantiles of a discrete few may coincide where values still differ.
    used = f"entry {least} uses {share[least]:.2g} of its range ({bounds})"
    if share[least] < _LOST and np.ptp(scaled[:, least]) / 2 < _LOST:
        raise UserError(
            f"actions would be lost in rounding and noise: {used}, from {actions[:, least].min():g} to "
            f"{actions[:, least].max():g}",
            key="dataset",
            value=name,
            fix="Write the dataset with an action space whose bounds the actions reach; gymnasium's RescaleAction or "
            "ClipAction gives its environment the same.",
        )
    if share[least] < _LITTLE:
        findings.append(_warning(f"action {used}; a policy is scaled by the whole of it"))
    return findings


def look_over(rewards: np.ndarray, masks: np.ndarray, lengths: np.ndarray) -> list[Finding]:
    """What is worth knowing of rewards, ends and episodes.

    Args:
        rewards: [N].
        masks: [N].
        lengths: [E].
    """
    findings = [_note(_shape(lengths))]
    if rewards.min() == rewards.max():
        findings.append(
            _warning(f"every reward is {rewards[0]:g}: a value function has nothing to learn from it")
        )
    if (largest := float(np.abs(rewards).max())) > _LARGE_REWARD:
        findings.append(
            _warning(f"rewards reach {largest:.3g}: squares of such errors leave what float32 holds")
        )
    share = float((masks == 0).mean())
    if share == 0:
        findings.append(_note("no transition ends the task: values are anchored by the discount alone"))
    elif share > _MANY_TERMINAL:
        findings.append(_warning(f"{share:.0%} of transitions end the task"))
    if len(lengths) == 1:
        findings.append(_warning("it is a single episode: none can be held out for validation"))
    return findings


def look_over_metadata(metadata: Metadata, spaces: Spaces, entries: Sequence[Entry]) -> list[Finding]:
    """What a dataset says of itself that is not taken as it says, and what of its observations is left out.

    Args:
        entries: arrays of an observation that make the state.
    """
    findings = []
    unused = {entry: f"{size} numbers" for entry, size in spaces.observation.items() if entry not in entries}
    left_out = {**unused, **spaces.left_out}
    if left_out:
        parts = ", ".join(f"{'.'.join(entry)} ({what})" for entry, what in sorted(left_out.items()))
        kept = ", ".join(".".join(entry) for entry in entries)
        # What was reached is known from the rest, and no policy may be told it apart.
        tell = _note if set(left_out) == {("achieved_goal",)} else _warning
        findings.append(tell(f"of an observation only {kept} is learnt from; left out: {parts}"))
    low, high = metadata.ref_min_score, metadata.ref_max_score
    if low is not None and high is not None and low >= high:
        findings.append(
            _warning(
                f"reference scores {low:g} to {high:g} are in no order, so that no normalized score is reported"
            )
        )
    named = metadata.environment
    worn = [name for name in named.wrappers if name not in _USUAL_WRAPPERS] if named else []
    if worn:
        findings.append(
            _warning(f"its environment was wrapped in {', '.join(worn)}; policies are scored in it without")
        )
    return findings


def _shape(lengths: np.ndarray) -> str:
    least, most = lengths.min(), lengths.max()
    steps = f"{most} steps" if least == most else f"{least} to {most} steps, {lengths.mean():.0f} on average"
    return f"{len(lengths)} episode{'s' if len(lengths) > 1 else ''} of {steps}"


def _note(text: str) -> Finding:
    return Finding(level="note", text=text)


def _warning(text: str) -> Finding:
    return Finding(level="warning", text=text)
