"""A learned denoiser: a residual network under the preconditioning of EDM (Karras et al., 2022, arXiv 2206.00364).

Legend: P lanes, B batch, D unknowns, W width, s noise level, sd standard deviation of the data around its mean m.

    D(x, s) = m + c_skip (x - m) + c_out F(c_in (x - m), log s / 4)
    c_skip = sd^2 / (s^2 + sd^2),  c_out = s sd / sqrt(s^2 + sd^2),  c_in = 1 / sqrt(s^2 + sd^2)

Samplers need D and products with its transposed Jacobian, never a gradient of the weights. Both are written out here:
one pass forward that keeps what the pass back reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from ..nets import Params
from ..products import affine, product, worth_a_call_each
from .priors import Vjp

LEVEL_FEATURES = 16
"""Sines and cosines of the noise level, at frequencies an octave apart at most."""
EXPANSION = 2
"""Hidden units of a block over its width."""
EPSILON = 1e-6


@dataclass(frozen=True)
class ResidualNetwork:
    """F: an affine map in, blocks of normalise, expand, SiLU, contract, add, and an affine map out.

    Attributes:
        unknowns: D.
        width: W of the residual stream.
        blocks: how many.
    """

    unknowns: int
    width: int
    blocks: int

    @property
    def layers(self) -> list[tuple[str, int, int]]:
        """Name, inputs and outputs of every affine map."""
        inner = EXPANSION * self.width
        within = [
            layer
            for block in range(self.blocks)
            for layer in ((f"{block}.expand", self.width, inner), (f"{block}.contract", inner, self.width))
        ]
        inputs = self.unknowns + 2 * LEVEL_FEATURES
        return [("in", inputs, self.width), *within, ("out", self.width, self.unknowns)]

    @property
    def size(self) -> int:
        """Multiply-adds per row, and about as many parameters."""
        return sum(inputs * outputs for _, inputs, outputs in self.layers)

    def init(self, generators: Sequence[torch.Generator]) -> Params:
        """Fresh parameters [P, ...], lane i from ``generators[i]``; the output starts at zero."""
        params: Params = {}
        for name, inputs, outputs in self.layers:
            bound = 0.0 if name == "out" else math.sqrt(3 / inputs) * (0.3 if "contract" in name else 1.0)
            drawn = [torch.empty(inputs, outputs).uniform_(-bound, bound, generator=g) for g in generators]
            params[f"{name}.weight"] = torch.stack(drawn)
            params[f"{name}.bias"] = torch.zeros(len(generators), 1, outputs)
        return params

    def __call__(self, params: Mapping[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        """F for inputs [P, B, D + level features], differentiable by autograd."""
        x = _affine(params, "in", inputs)
        for block in range(self.blocks):
            normal = functional.layer_norm(x, x.shape[-1:], eps=EPSILON)
            inner = functional.silu(_affine(params, f"{block}.expand", normal))
            x = x + _affine(params, f"{block}.contract", inner)
        return _affine(params, "out", functional.layer_norm(x, x.shape[-1:], eps=EPSILON))

    def with_vjp(
        self, params: Mapping[str, torch.Tensor], inputs: torch.Tensor
    ) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """F, and the product with its transposed Jacobian over the state's entries, [P, B, D] each."""
        x, kept = _affine(params, "in", inputs), []
        for block in range(self.blocks):
            normal, size = _normalised(x)
            before = _affine(params, f"{block}.expand", normal)
            kept.append((normal, size, before))
            x = x + _affine(params, f"{block}.contract", functional.silu(before))
        last, last_size = _normalised(x)

        def vjp(v: torch.Tensor) -> torch.Tensor:
            gradient = _back_through_norm(_back(params, "out", v), last, last_size)
            for block in reversed(range(self.blocks)):
                normal, size, before = kept[block]
                inner = torch.ops.aten.silu_backward(_back(params, f"{block}.contract", gradient), before)
                gradient = gradient + _back_through_norm(
                    _back(params, f"{block}.expand", inner), normal, size
                )
            return _back(params, "in", gradient, self.unknowns)

        return _affine(params, "out", last), vjp


class Denoiser:
    """P denoisers over a network.

    Args:
        network: the architecture.
        params: its parameters, [P, ...].
        mean: [D] of the data.
        spread: standard deviation of the data around it, one number.
    """

    dtype = torch.float32

    def __init__(self, network: ResidualNetwork, params: Params, mean: torch.Tensor, spread: float):
        self.network, self.params, self.mean, self.spread = network, params, mean, spread
        self.variance = spread**2

    def inputs(self, x: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """What the network reads, [P, B, D + level features].

        Args:
            levels: [P, B, 1] or broadcast against it.
        """
        scaled = (x - self.mean) / (levels.square() + self.variance).sqrt()
        features = level_features(levels).expand(*x.shape[:-1], -1)
        return torch.cat([scaled, features], -1)

    def denoised(self, x: torch.Tensor, levels: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """D from F."""
        skip, out = self.skip_and_out(levels)
        return self.mean + skip * (x - self.mean) + out * output

    def skip_and_out(self, levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """c_skip and c_out."""
        total = levels.square() + self.variance
        return self.variance / total, levels * self.spread / total.sqrt()

    @torch.no_grad()
    def denoise(self, x: torch.Tensor, level: float) -> torch.Tensor:
        """D(x, level)."""
        levels = x.new_full((1, 1, 1), level)
        return self.denoised(x, levels, self.network(self.params, self.inputs(x, levels)))

    @torch.no_grad()
    def denoise_vjp(self, x: torch.Tensor, level: float) -> tuple[torch.Tensor, Vjp]:
        """D(x, level), and the product with its transposed Jacobian there."""
        levels = x.new_full((1, 1, 1), level)
        output, of_network = self.network.with_vjp(self.params, self.inputs(x, levels))
        skip, out = self.skip_and_out(levels)
        scale = out / (levels.square() + self.variance).sqrt()

        def vjp(v: torch.Tensor) -> torch.Tensor:
            return skip * v + scale * of_network(v)

        return self.denoised(x, levels, output), vjp


def level_features(levels: torch.Tensor) -> torch.Tensor:
    """[..., 2 * LEVEL_FEATURES] sines and cosines of log s / 4."""
    octaves = torch.linspace(0, 4, LEVEL_FEATURES, dtype=levels.dtype, device=levels.device)
    angles = levels.log() / 4 * torch.exp2(octaves)
    return torch.cat([angles.sin(), angles.cos()], -1)


def denoising_loss(
    params: Params, denoiser: Denoiser, clean: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    """Mean square of F's error, EDM's loss with its weight (equation 8 and table 1 there): 1 at the start, [P].

    Args:
        params: receive the gradient.
        clean, noise: [P, B, D].
        levels: [P, B, 1].
    """
    noisy = clean + levels * noise
    skip, out = denoiser.skip_and_out(levels)
    target = (clean - denoiser.mean - skip * (noisy - denoiser.mean)) / out
    output = denoiser.network(params, denoiser.inputs(noisy, levels))
    loss = (output - target).square().mean((-1, -2))
    return loss, {"loss": loss}


def _affine(params: Mapping[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    if worth_a_call_each(x, weight.shape[-1] * weight.shape[-2] * 8):
        lanes = range(len(x))
        return torch.stack([affine(bias[lane], x[lane].contiguous(), weight[lane]) for lane in lanes])
    return torch.baddbmm(bias, x, weight)


def _back(
    params: Mapping[str, torch.Tensor], name: str, v: torch.Tensor, rows: int | None = None
) -> torch.Tensor:
    """v times the transposed weight, its first ``rows`` only."""
    weight = params[f"{name}.weight"][:, :rows]
    if worth_a_call_each(v, weight.shape[-1] * weight.shape[-2] * 8):
        return torch.stack([product(v[lane].contiguous(), weight[lane].t()) for lane in range(len(v))])
    return torch.bmm(v, weight.mT)


def _normalised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    normal, _, size = torch.ops.aten.native_layer_norm(x, x.shape[-1:], None, None, EPSILON)
    return normal, size


def _back_through_norm(v: torch.Tensor, normal: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Gradient before layer normalisation, from that after it."""
    along = (v * normal).mean(-1, keepdim=True)
    return size * (v - v.mean(-1, keepdim=True) - normal * along)
