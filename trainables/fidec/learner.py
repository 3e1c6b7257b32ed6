"""The flow that learners start from, and how it is stored.

Legend: P lanes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..base import Snapshot
from ..population import stacked
from .flow import Flow, Solver, velocity_network


def flow_from(snapshots: Sequence[Snapshot], device: str, *, tanh_gelu: bool = False) -> Flow:
    """The frozen flow of every lane, from outputs of the pretrain stage (or of a later one, which repeat it)."""
    settings = snapshots[0].meta["flow"]
    scale = stacked(snapshots, "observation", device)
    return Flow(
        network=velocity_network(
            settings["observation_dim"],
            settings["action_dim"],
            tuple(settings["hidden"]),
            tanh_gelu=tanh_gelu,
        ),
        params=stacked(snapshots, "flow", device),
        mean=scale["mean"].unsqueeze(1),
        std=scale["std"].unsqueeze(1),
        solver=Solver(settings["solver"], settings["flow_steps"]),
    )


def flow_tensors(flow: Flow, lane: int) -> dict[str, torch.Tensor]:
    """One lane's flow as named tensors without the lane axis; read back by :func:`flow_from`."""
    tensors = {f"flow.{name}": value[lane].detach() for name, value in flow.params.items()}
    return {
        **{name: value.clone() for name, value in tensors.items()},
        "observation.mean": flow.mean[lane, 0].clone(),
        "observation.std": flow.std[lane, 0].clone(),
    }
