"""Looking a dataset over before anything learns from it.

Legend: E episodes, N transitions, A action size.
"""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from .dataset import Finding
from .source import RawEpisodes, Spaces

CLIP = 1e-5
"""Distance kept from the bounds of [-1, 1]."""
_MANY_AT_BOUND = _MANY_TERMINAL = 0.5
_BEYOND_TOLERANCE = 1e-6


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
                fix="Drop or repair those episodes; nothing can be learnt from them.",
            )


def scale_actions(actions: np.ndarray, spaces: Spaces) -> tuple[np.ndarray, list[Finding]]:
    """Map the action box to [-1, 1] and keep clear of its faces.

    Args:
        actions: [N, A] in the environment's units.

    Returns:
        [N, A] float32 in [-(1 - 1e-5), 1 - 1e-5], and what was noticed.
    """
    centre, reach = (spaces.action_high + spaces.action_low) / 2, (spaces.action_high - spaces.action_low) / 2
    scaled = (actions - centre) / reach
    findings = []
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
    share = float((masks == 0).mean())
    if share == 0:
        findings.append(_note("no transition ends the task: values are anchored by the discount alone"))
    elif share > _MANY_TERMINAL:
        findings.append(_warning(f"{share:.0%} of transitions end the task"))
    if len(lengths) == 1:
        findings.append(_warning("it is a single episode: none can be held out for validation"))
    return findings


def _shape(lengths: np.ndarray) -> str:
    least, most = lengths.min(), lengths.max()
    steps = f"{most} steps" if least == most else f"{least} to {most} steps, {lengths.mean():.0f} on average"
    return f"{len(lengths)} episode{'s' if len(lengths) > 1 else ''} of {steps}"


def _note(text: str) -> Finding:
    return Finding(level="note", text=text)


def _warning(text: str) -> Finding:
    return Finding(level="warning", text=text)
