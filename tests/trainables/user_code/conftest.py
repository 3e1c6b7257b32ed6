import textwrap
from pathlib import Path

import pytest
from flowsweep.trainables.base import System
from flowsweep.trainables.user_code.code import read_code
from flowsweep.trainables.user_code.system import system_of

DESCENT = """
    from dataclasses import dataclass
    import random
    import numpy as np
    import torch

    @dataclass(frozen=True)
    class Config:
        rate: float = 0.1
        keep_every: int = 0
        steps: int = 40

    def train(config: Config, report):
        \"\"\"Walk towards one, noisily.\"\"\"
        x, begin = torch.zeros(3, requires_grad=True), 0
        optimizer = torch.optim.Adam([x], lr=config.rate)
        if saved := report.restored():
            x.data.copy_(saved["x"])
            optimizer.load_state_dict(saved["optimizer"])
            begin = saved["step"]
        for step in range(begin, config.steps):
            noise = torch.randn(3) * 0.1 + random.gauss(0, 0.01) + float(np.random.randn()) * 0.01
            loss = ((x - 1 + noise) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            report(step, loss=loss)
            if config.keep_every and step % config.keep_every == 0:
                report.checkpoint(x=x, optimizer=optimizer.state_dict(), step=step + 1)
        return {"x": x}
"""


@pytest.fixture
def written(tmp_path: Path):
    """Write files into the test's folder; returns the folder."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            file = tmp_path / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        return tmp_path

    return write


@pytest.fixture
def system(written):
    """The system in a file with this text (and others beside it)."""

    def make(text: str = DESCENT, attribute: str = "train", **others: str) -> System:
        folder = written(mine=text, **others)
        return system_of(read_code(f"./mine.py:{attribute}", folder))

    return make
