"""Population networks: P lanes (and E ensemble members) of one architecture as one batched matrix product.

Legend: P lanes, E ensemble members, B batch, I inputs, O outputs. Parameters are a flat mapping of names to
tensors whose leading axis is P; an ensemble has E as the second axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from .perceptron import Units, perceptron
from .products import affine, worth_a_call_each

Params = dict[str, torch.Tensor]
Affine = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""bias + inputs weight."""


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron with GELU units, unless others are asked for, and a linear output.

    Layer normalisation follows the activation and, unless asked, has no scale and shift of its own: the next layer
    is linear and absorbs them. Kernels start Glorot-uniform, biases at zero.

    Attributes:
        inputs, outputs: sizes I and O.
        hidden: widths of the hidden layers.
        layer_norm: normalise every hidden layer.
        members: ensemble size E, or None for a single network.
        tanh_gelu: approximate GELU by tanh, as JAX libraries do; several times slower on CPU.
        affine_norm: give layer normalisation its own scale and shift.
        activation: the units.
    """

    inputs: int
    outputs: int
    hidden: tuple[int, ...]
    layer_norm: bool = False
    members: int | None = None
    tanh_gelu: bool = False
    affine_norm: bool = False
    activation: Literal["gelu", "relu", "silu"] = "gelu"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Layer widths from input to output."""
        return (self.inputs, *self.hidden, self.outputs)

    def init(self, generators: Sequence[torch.Generator], *, zero_output: bool = False) -> Params:
        """Fresh parameters, lane i drawn from ``generators[i]`` (CPU generators, so that devices agree).

        Args:
            generators: [P] streams.
            zero_output: start with an output layer of zeros, so that the network is zero everywhere.
        """
        params: Params = {}
        leading = () if self.members is None else (self.members,)
        last = len(self.sizes) - 2
        for layer, (fan_in, fan_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            bound = math.sqrt(6 / (fan_in + fan_out))
            kernels = [
                torch.empty(*leading, fan_in, fan_out).uniform_(-bound, bound, generator=g)
                for g in generators
            ]
            weight = torch.stack(kernels)
            params[f"{layer}.weight"] = torch.zeros_like(weight) if zero_output and layer == last else weight
            params[f"{layer}.bias"] = torch.zeros(len(generators), *leading, 1, fan_out)
            if self.layer_norm and self.affine_norm and layer < last:
                params[f"{layer}.scale"] = torch.ones(len(generators), *leading, 1, fan_out)
                params[f"{layer}.shift"] = torch.zeros(len(generators), *leading, 1, fan_out)
        return params

    def __call__(self, params: Mapping[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        """[P, B, I] to [P, B, O], or to [P, E, B, O] for an ensemble."""
        flat = {name: value.flatten(0, -3) for name, value in params.items()}
        if worth_a_call_each(inputs, self.multiplications // (self.members or 1)):
            if torch.compiler.is_compiling():
                x = self._one_by_one(flat, inputs)
            else:
                x = perceptron(self._units, flat, inputs)
        else:
            x = inputs
            if self.members is not None:
                x = x.unsqueeze(1).expand(-1, self.members, -1, -1).flatten(0, 1)
            x = self._layers(torch.baddbmm, flat, x)
        return x if self.members is None else x.unflatten(0, (-1, self.members))

    def _one_by_one(self, params: Params, inputs: torch.Tensor) -> torch.Tensor:
        """Lane by lane and member by member, so that what one layer leaves is still in the cache for the next."""
        apart = {name: value.unbind() for name, value in params.items()}
        lanes = inputs.unbind()
        return torch.stack(
            [
                self._layers(
                    affine, {name: v[i] for name, v in apart.items()}, lanes[i // (self.members or 1)]
                )
                for i in range(len(lanes) * (self.members or 1))
            ]
        )

    def _layers(self, affine: Affine, params: Params, x: torch.Tensor) -> torch.Tensor:
        """All layers over x [..., B, I], of one network or a batch of them."""
        last = len(self.sizes) - 2
        for layer in range(last + 1):
            x = affine(params[f"{layer}.bias"], x, params[f"{layer}.weight"])
            if layer < last:
                x = self._activated(x)
                if self.layer_norm:
                    x = functional.layer_norm(x, x.shape[-1:], eps=1e-6)
                    if self.affine_norm:
                        x = torch.addcmul(params[f"{layer}.shift"], x, params[f"{layer}.scale"])
        return x

    def _activated(self, x: torch.Tensor) -> torch.Tensor:
        if self.activation == "gelu":
            return functional.gelu(x, approximate="tanh" if self.tanh_gelu else "none")
        return functional.relu(x) if self.activation == "relu" else functional.silu(x)

    @property
    def _units(self) -> Units:
        return Units(len(self.sizes) - 1, self.tanh_gelu, self.layer_norm, self.affine_norm, self.activation)

    @property
    def multiplications(self) -> int:
        """Multiply-adds of one forward pass for one row, all members together."""
        products = sum(a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        return products * (self.members or 1)


def detached(params: Mapping[str, torch.Tensor]) -> Params:
    """The same storage, cut from the gradient graph."""
    return {name: value.detach() for name, value in params.items()}


def trainable(params: Mapping[str, torch.Tensor], device: str | torch.device) -> Params:
    """Own copies on ``device`` that take gradients."""
    return {
        name: value.detach().to(device, copy=True).contiguous().requires_grad_()
        for name, value in params.items()
    }


@torch.no_grad()
def move_towards(target: Params, source: Params, rate: torch.Tensor) -> None:
    """target += rate * (source - target) in place, with one rate per lane.

    Args:
        target, source: parameters [P, ...].
        rate: [P] share of the way.
    """
    for name, value in target.items():
        value.lerp_(source[name], rate.view(-1, *[1] * (value.dim() - 1)))
