"""A plain PyTorch script as a training function: `flowsweep run examples/sweep.yaml` searches it."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Config:
    """What a sweep may search or set."""

    lr: float = 1e-2
    width: int = 16
    steps: int = 60


def train(config: Config, report):
    """Fit a sine with a small network."""
    model = torch.nn.Sequential(
        torch.nn.Linear(1, config.width), torch.nn.Tanh(), torch.nn.Linear(config.width, 1)
    ).to(report.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    start = 0
    if saved := report.restored():
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        start = saved["step"]
    for step in range(start, config.steps):
        x = 6 * torch.rand(64, 1, device=report.device) - 3
        loss = (model(x) - torch.sin(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step, loss=loss)
        if step % 20 == 19:
            report.checkpoint(model=model.state_dict(), optimizer=optimizer.state_dict(), step=step + 1)
    return {"model": model.state_dict()}
