"""What stages of small networks take before anything was measured: counted multiply-adds over a stated speed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

MULTIPLY_ADDS_PER_CORE_S = 35e9
"""Sustained on one AVX-512 core by these networks, activations included (benchmarks/fidec_update.py)."""
UPDATE_OVERHEAD_S = 3e-4
"""Python, gathering and optimiser of one update."""


def network_size(hidden: Sequence[int], inputs: int, outputs: int) -> int:
    """Multiply-adds of a forward pass of one row, which is also about the number of parameters.

    A backward pass takes about twice as many, and half of that where only the input's gradient is wanted.
    """
    return sum(a * b for a, b in pairwise((inputs, *hidden, outputs)))


def updates_s(steps: int, multiply_adds: float) -> float:
    """Core-seconds of that many updates of that many multiply-adds each."""
    return steps * (multiply_adds / MULTIPLY_ADDS_PER_CORE_S + UPDATE_OVERHEAD_S)
