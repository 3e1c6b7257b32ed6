"""Matrix products on CPU by oneDNN, which takes what vector instructions it finds.

PyTorch's own products of float32 matrices go to MKL, which leaves half of an AMD core with AVX-512 idle. oneDNN comes
with the same PyTorch; the operator that reaches it is the one torch.compile emits for linear layers.

Legend: B rows, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

FEWEST_MULTIPLICATIONS = 2**21
"""Of a network's pass over one batch, from which on products are worth a call each, about 20 us."""

_GELU = {"erf": "none", "tanh": "tanh"}

WIDE_VECTORS = (
    torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
"""Whether oneDNN is here, and a CPU on which it matters."""


def worth_a_call_each(inputs: torch.Tensor, multiplications: int) -> bool:
    """Whether products over these inputs go to oneDNN one by one; else they are batched by PyTorch.

    Args:
        inputs: what the network reads, [..., B, I].
        multiplications: multiply-adds per row of one network.
    """
    return (
        inputs.device.type == "cpu"
        and inputs.dtype == torch.float32
        and inputs.shape[-2] * multiplications >= FEWEST_MULTIPLICATIONS
        and WIDE_VECTORS
        and (torch.compiler.is_compiling() or torch.backends.mkldnn.enabled)
        and not torch.compiler.is_exporting()  # an exported program must run where oneDNN is not
    )


def affine(bias: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """bias + inputs weight, as :func:`torch.addmm`.

    Args:
        bias: [1, O]; inputs: [B, I]; weight: [I, O].
    """
    return _Affine.apply(bias, inputs, weight)  # type: ignore[return-value]


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left right, as :func:`torch.mm`."""
    if torch.is_grad_enabled():
        return _Product.apply(left, right)  # type: ignore[return-value]
    return _raw(left, right)


def pointwise_affine(
    bias: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor, units: str = "none"
) -> torch.Tensor:
    """units(bias + inputs weight) without a gradient; the units cost little, applied while the product is in cache.

    Args:
        bias: [1, O]; inputs: [B, I]; weight: [I, O].
        units: ``none``, ``gelu_erf``, ``gelu_tanh``, ``relu`` or ``swish`` (SiLU).
    """
    kind, _, algorithm = units.partition("_")
    if min(*inputs.shape, weight.shape[1]) == 1:  # with vectors there is nothing to gain
        sums = torch.addmm(bias, inputs, weight)
        if kind == "gelu":
            return functional.gelu(sums, approximate=_GELU[algorithm])
        return {"none": _same, "relu": functional.relu, "swish": functional.silu}[kind](sums)
    return torch.ops.mkldnn._linear_pointwise(inputs, weight.t(), bias[0], kind, [], _GELU.get(algorithm, ""))


def _same(sums: torch.Tensor) -> torch.Tensor:
    return sums


def raw_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left right, without a gradient."""
    return _raw(left, right)


def _raw(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    if min(*left.shape, right.shape[1]) == 1:  # with vectors there is nothing to gain
        return left @ right if bias is None else torch.addmm(bias, left, right)
    return _opaque(left, right, bias) if torch.compiler.is_compiling() else _by_onednn(left, right, bias)


def _by_onednn(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(
        left, right.t(), None if bias is None else bias[0], "none", [], ""
    )


# torch.compile lowers oneDNN's operator for weights that never change; behind a name of our own it leaves it as it is.
_library = torch.library.Library("flowsweep", "DEF")
_library.define("product(Tensor left, Tensor right, Tensor? bias) -> Tensor")
_library.impl("product", _by_onednn, "CPU")
_opaque = torch.ops.flowsweep.product.default


@torch.library.register_fake("flowsweep::product")
def _(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bias, inputs, weight):
        ctx.save_for_backward(inputs, weight)
        return _raw(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor):
        (gradient,), (inputs, weight) = gradients, ctx.saved_tensors
        of_bias, of_inputs, of_weight = ctx.needs_input_grad
        return (
            gradient.sum(0, keepdim=True) if of_bias else None,
            product(gradient, weight.t()) if of_inputs else None,
            weight_gradient(gradient, inputs) if of_weight else None,
        )


def weight_gradient(gradient: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """inputs^T gradient, [I, O], of inputs [B, I] and gradient [B, O]."""
    # The longer side goes into the columns: several times faster where the other is narrow.
    if gradient.shape[1] < inputs.shape[1]:
        return product(gradient.t(), inputs).t()
    return product(inputs.t(), gradient)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left, right):
        ctx.save_for_backward(left, right)
        return _raw(left, right)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor):
        (gradient,), (left, right) = gradients, ctx.saved_tensors
        of_left, of_right = ctx.needs_input_grad
        return (
            product(gradient, right.t()) if of_left else None,
            product(left.t(), gradient) if of_right else None,
        )
