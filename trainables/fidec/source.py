"""Opening a dataset for a system that imitates and improves, and refusing what it cannot learn from."""

from __future__ import annotations

from dataclasses import replace

from ..data.dataset import Finding, FlatDataset
from ..errors import UserError


def open_source(name: str) -> FlatDataset:
    """The dataset of that name, checked for FiDec.

    Raises:
        UserError: it cannot be had, or it has no continuous action or no transition.
    """
    from ..data.flat import open_dataset  # reads arrays; kept out of planning

    return checked(open_dataset(name))


def checked(dataset: FlatDataset) -> FlatDataset:
    """The dataset with FiDec's findings added.

    Raises:
        UserError: it has no action entry, no observation entry or no transition.
    """
    info = dataset.info
    for count, what in (
        (info.action_dim, "no continuous action entry"),
        (info.observation_dim, "no observation entry"),
        (info.transitions, "no transition"),
    ):
        if count < 1:
            raise UserError(
                f"has {what}, so there is no policy to learn",
                key="dataset",
                value=info.name,
                fix="Choose a dataset with continuous (Box) actions and array or flattened observations.",
            )
    findings = []
    if info.reward_min == info.reward_max:
        findings.append(
            f"every reward is {info.reward_min:g}: critics have nothing to tell good actions from bad by"
        )
    if info.episodes == 1:
        findings.append("one episode only: nothing can be held out, so there is no validation loss")
    new = tuple(Finding(level="warning", text=text) for text in findings)
    return replace(dataset, info=info.model_copy(update={"findings": (*info.findings, *new)}))
