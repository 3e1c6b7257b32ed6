"""A whole perceptron as one differentiable operation on CPU: products by oneDNN, gradients written out.

Layer by layer, autograd costs a third of an update of small networks: a node, saved tensors and fresh memory for
each of some forty steps. Here a network is one node, what its backward pass does not read is not kept, and no
gradient is computed that nobody asked for.

Legend: N networks (lanes times ensemble members), P lanes, B rows, I inputs, O outputs, H width of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.autograd.function import once_differentiable

from .products import pointwise_affine, raw_product, weight_gradient

NORM_EPS = 1e-6
_SLOPE = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715


@dataclass(frozen=True)
class Units:
    """What follows the product of every layer but the last.

    Attributes:
        layers: number of layers, the linear output included.
        tanh_gelu: GELU by tanh instead of the error function.
        layer_norm: normalise what the units give.
        affine_norm: give normalisation its own scale and shift.
        activation: ``gelu``, ``relu`` or ``silu``.
    """

    layers: int
    tanh_gelu: bool
    layer_norm: bool
    affine_norm: bool
    activation: str = "gelu"

    @property
    def fused(self) -> str:
        """What oneDNN calls the units."""
        gelu = "gelu_tanh" if self.tanh_gelu else "gelu_erf"
        return {"gelu": gelu, "relu": "relu", "silu": "swish"}[self.activation]

    def names(self) -> list[str]:
        """Return the parameters of one network, in the order in which they are passed."""
        names = []
        for layer in range(self.layers):
            names += [f"{layer}.weight", f"{layer}.bias"]
            if self.affine_norm and self.layer_norm and layer < self.layers - 1:
                names += [f"{layer}.scale", f"{layer}.shift"]
        return names


@dataclass
class _Layer:
    """What one layer of one network leaves for its backward pass; ``units`` and later are None in the last layer."""

    inputs: torch.Tensor
    sums: torch.Tensor | None = None
    sigmoid: torch.Tensor | None = None
    units: torch.Tensor | None = None
    mean: torch.Tensor | None = None
    rstd: torch.Tensor | None = None


def perceptron(units: Units, params: Mapping[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Evaluate N networks.

    Args:
        units: what stands between the layers.
        params: weights [N, I, O] and biases [N, 1, O] by name, scales and shifts [N, 1, H].
        inputs: [P, B, I]; N is a multiple of P, and the networks of a lane lie together.

    Returns:
        [N, B, O].
    """
    values = [params[name] for name in units.names()]
    if torch.is_grad_enabled() and (inputs.requires_grad or any(value.requires_grad for value in values)):
        return _Perceptron.apply(units, inputs, *values)  # type: ignore[return-value]
    return _evaluate(units, inputs, values, None)


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, units: Units, inputs: torch.Tensor, *values: torch.Tensor):
        kept: list[list[_Layer]] = []
        outputs = _evaluate(units, inputs, values, kept)
        # Nothing kept is an input or output but `inputs` and `values`, which the caller does not change in between.
        ctx.units, ctx.kept, ctx.values, ctx.shape = units, kept, values, inputs.shape
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor):
        _, of_inputs, *of_values = ctx.needs_input_grad
        back = _Backward(ctx.units, ctx.values, of_inputs, of_values)
        found = [back.network(n, layers, gradients[0][n]) for n, layers in enumerate(ctx.kept)]
        ctx.kept = None
        per_lane = len(found) // ctx.shape[0]
        into_inputs = None
        if of_inputs:
            parts = [inputs for inputs, _ in found if inputs is not None]
            into_inputs = torch.stack([_sum(parts[i : i + per_lane]) for i in range(0, len(parts), per_lane)])
        into_values = [
            _stacked([cast(torch.Tensor, values[i]) for _, values in found]) if wanted else None
            for i, wanted in enumerate(of_values)
        ]
        return None, into_inputs, *into_values


def _evaluate(
    units: Units, inputs: torch.Tensor, values: Sequence[torch.Tensor], kept: list[list[_Layer]] | None
) -> torch.Tensor:
    names, lanes = units.names(), inputs.unbind()
    apart = [value.detach().unbind() for value in values]
    networks = len(apart[0])
    outputs = []
    for n in range(networks):
        params = {name: value[n] for name, value in zip(names, apart, strict=True)}
        layers: list[_Layer] | None = None if kept is None else []
        outputs.append(_forward(units, params, lanes[n * len(lanes) // networks].detach(), layers))
        if kept is not None and layers is not None:
            kept.append(layers)
    return _stacked(outputs)


def _forward(
    units: Units, params: Mapping[str, torch.Tensor], x: torch.Tensor, kept: list[_Layer] | None
) -> torch.Tensor:
    """One network over x [B, I]."""
    last = units.layers - 1
    for index in range(last):
        weight, bias = params[f"{index}.weight"], params[f"{index}.bias"]
        layer = _Layer(x)
        if kept is None:
            x = pointwise_affine(bias, x, weight, units.fused)
        else:
            layer.sums = pointwise_affine(bias, x, weight)
            x, layer.sigmoid = _activate(layer.sums, units.tanh_gelu, units.activation)
            kept.append(layer)
        if units.layer_norm:
            scale, shift = params.get(f"{index}.scale"), params.get(f"{index}.shift")
            affine = (None, None) if scale is None or shift is None else (scale[0], shift[0])
            layer.units = x
            x, layer.mean, layer.rstd = torch.native_layer_norm(x, x.shape[-1:], *affine, NORM_EPS)
    if kept is not None:
        kept.append(_Layer(x))
    return pointwise_affine(params[f"{last}.bias"], x, params[f"{last}.weight"])


def _activate(
    sums: torch.Tensor, tanh: bool, activation: str = "gelu"
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The units and, in GELU by tanh and SiLU, the sigmoid they are made of: x (1 + tanh(u / 2)) / 2 = x sigmoid(u)."""
    if activation == "relu":
        return sums.relu(), None
    if activation == "silu":
        sigmoid = sums.sigmoid()
        return sums * sigmoid, sigmoid
    if not tanh:
        return torch.nn.functional.gelu(sums), None
    sigmoid = torch.addcmul(sums.new_tensor(_SLOPE), sums, sums, value=_SLOPE * _CUBIC)
    sigmoid.mul_(sums).sigmoid_()
    return sums * sigmoid, sigmoid


def _activation_gradient(gradient: torch.Tensor, layer: _Layer, activation: str = "gelu") -> torch.Tensor:
    """The gradient of what the units read, given that of what they gave."""
    sums, sigmoid = layer.sums, layer.sigmoid
    assert sums is not None
    if activation == "relu":
        return torch.ops.aten.threshold_backward(gradient, sums, 0)
    if activation == "silu":
        return torch.ops.aten.silu_backward(gradient, sums)
    if sigmoid is None:
        return torch.ops.aten.gelu_backward(gradient, sums)
    # sigmoid + x sigmoid (1 - sigmoid) u', u' = slope (1 + 3 cubic x^2)
    slope = torch.addcmul(sums.new_tensor(_SLOPE), sums, sums, value=3 * _SLOPE * _CUBIC)
    slope.mul_(sums).mul_(sigmoid)
    slope.addcmul_(slope, sigmoid, value=-1).add_(sigmoid)
    return slope.mul_(gradient)


@dataclass(frozen=True)
class _Backward:
    """The backward pass of networks whose gradients are asked for in part.

    Attributes:
        units, values: as given to the forward pass.
        of_inputs: whether the inputs' gradient is wanted.
        of_values: which parameters' gradients are.
    """

    units: Units
    values: Sequence[torch.Tensor]
    of_inputs: bool
    of_values: Sequence[bool]

    def network(self, n: int, layers: list[_Layer], gradient: torch.Tensor):
        """Return the gradient of the inputs [B, I], if wanted, and those of the parameters in their order."""
        names = self.units.names()
        wanted = dict(zip(names, self.of_values, strict=True))
        params = {name: value[n] for name, value in zip(names, self.values, strict=True)}
        found: dict[str, torch.Tensor] = {}
        lowest = min((int(name.split(".")[0]) for name in names if wanted[name]), default=self.units.layers)
        for index in reversed(range(self.units.layers)):
            layer = layers[index]
            if index < self.units.layers - 1:
                gradient = self._through_units(index, layer, gradient, params, wanted, found)
            if wanted[f"{index}.bias"]:
                found[f"{index}.bias"] = gradient.sum(0, keepdim=True)
            if wanted[f"{index}.weight"]:
                found[f"{index}.weight"] = weight_gradient(gradient, layer.inputs)
            if index <= lowest and not self.of_inputs:
                break
            gradient = raw_product(gradient, params[f"{index}.weight"].t())
        return gradient if self.of_inputs else None, [found.get(name) for name in names]

    def _through_units(self, index, layer, gradient, params, wanted, found) -> torch.Tensor:
        if self.units.layer_norm:
            scale = params[f"{index}.scale"][0] if self.units.affine_norm else None
            shift = params[f"{index}.shift"][0] if self.units.affine_norm else None
            own = [self.units.affine_norm and wanted[f"{index}.{name}"] for name in ("scale", "shift")]
            width = [gradient.shape[-1]]
            gradient, of_scale, of_shift = torch.ops.aten.native_layer_norm_backward(
                gradient, layer.units, width, layer.mean, layer.rstd, scale, shift, [True, *own]
            )
            if own[0]:
                found[f"{index}.scale"] = of_scale[None]
            if own[1]:
                found[f"{index}.shift"] = of_shift[None]
        return _activation_gradient(gradient, layer, self.units.activation)


def _sum(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _stacked(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The parts along a new first axis, without a copy where there is but one."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(list(parts))
