"""The global random streams of Python, NumPy and torch: every run of a training function has them to itself."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Kept:
    """What a function has stored: its state, and the global random streams as they were then."""

    state: Mapping[str, Any]
    streams: Mapping[str, Any]


def seeded(seed: int) -> dict[str, Any]:
    """The global random streams of Python, NumPy and torch as they begin with a seed."""
    ours = streams()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    begun = streams()
    set_streams(ours)
    return begun


def streams() -> dict[str, Any]:
    """Where the global random streams are."""
    cuda = "torch.cuda" in sys.modules and torch.cuda.is_initialized()
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        **({"cuda": torch.cuda.get_rng_state_all()} if cuda else {}),
    }


def set_streams(there: Mapping[str, Any]) -> None:
    """Put the global random streams back."""
    random.setstate(there["python"])
    np.random.set_state(there["numpy"])
    torch.set_rng_state(there["torch"])
    if "cuda" in there:
        torch.cuda.set_rng_state_all(there["cuda"])
