"""How good posterior samples are: against the truth, and against the exact posterior where there is one.

Legend: S samples, D unknowns. Every function judges one problem and computes in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

PROJECTIONS = 256
NEIGHBOURS = 5
LEVEL = 0.9
"""Of the intervals whose coverage is counted."""


def point_metrics(
    samples: torch.Tensor, truth: torch.Tensor, value_range: float, shape: tuple[int, ...]
) -> dict[str, float]:
    """PSNR of single samples; SSIM, NRMSE and relative error of their mean; energy score, CRPS, coverage.

    Args:
        samples: [S, D].
        truth: [D].
        value_range: of an entry, for PSNR and SSIM.
        shape: of an unknown.
    """
    samples, truth = samples.double(), truth.double()
    mean = samples.mean(0)
    return {
        "psnr": float(psnr(samples, truth, value_range).mean()),
        "ssim": ssim(mean.reshape(shape), truth.reshape(shape), value_range),
        "nrmse": float((mean - truth).square().mean().sqrt() / truth.std().clamp(min=1e-12)),
        "relative_l2": float((mean - truth).norm() / truth.norm().clamp(min=1e-12)),
        "energy_score": energy_score(samples, truth),
        "crps": crps(samples, truth),
        "coverage_90": coverage(samples, truth),
    }


def psnr(samples: torch.Tensor, truth: torch.Tensor, value_range: float) -> torch.Tensor:
    """[S] 10 log10(range^2 / mean square error), in dB."""
    error = (samples - truth).square().mean(-1).clamp(min=1e-300)
    return 10 * torch.log10(value_range**2 / error)


def ssim(image: torch.Tensor, truth: torch.Tensor, value_range: float) -> float:
    """Structural similarity (Wang et al., 2004), windows of 3 entries a side (images this small hold no larger)."""
    one, other = (
        value.reshape(1, 1, *(value.shape if value.dim() == 2 else (1, -1))) for value in (image, truth)
    )
    window = (1 if one.shape[2] == 1 else 3, 3)

    def local(value: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(value, window, stride=1)

    low, high = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    mean_one, mean_other = local(one), local(other)
    var_one, var_other = local(one.square()) - mean_one.square(), local(other.square()) - mean_other.square()
    both = local(one * other) - mean_one * mean_other
    similar = (2 * mean_one * mean_other + low) * (2 * both + high)
    return float(
        (similar / ((mean_one.square() + mean_other.square() + low) * (var_one + var_other + high))).mean()
    )


def energy_score(samples: torch.Tensor, truth: torch.Tensor) -> float:
    """E|X - truth| - E|X - X'| / 2 (Gneiting and Raftery, 2007), the second mean over distinct pairs; lower is better."""
    away = (samples - truth).norm(dim=-1).mean()
    count = len(samples)
    if count == 1:
        return float(away)
    apart = torch.cdist(samples, samples).sum() / (count * (count - 1))
    return float(away - apart / 2)


def crps(samples: torch.Tensor, truth: torch.Tensor) -> float:
    """The same score entry by entry, averaged over entries."""
    away = (samples - truth).abs().mean()
    count = len(samples)
    if count == 1:
        return float(away)
    # Sum of |x_i - x_j| over pairs, from order statistics.
    places = torch.arange(1, count + 1, dtype=samples.dtype, device=samples.device) * 2 - count - 1
    apart = 2 * (places.unsqueeze(-1) * samples.sort(0).values).sum(0) / (count * (count - 1))
    return float(away - apart.mean() / 2)


def coverage(samples: torch.Tensor, truth: torch.Tensor) -> float:
    """Share of entries whose truth lies between the samples' 5 % and 95 % quantiles; 0.9 is right.

    With S samples the narrowest honest reading is that of S - 1 gaps: few samples cover less.
    """
    low, high = (samples.quantile(q, dim=0) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(((truth >= low) & (truth <= high)).double().mean())


def sliced_wasserstein(one: torch.Tensor, other: torch.Tensor, seed: int = 0) -> float:
    """Root mean square, over random directions, of the Wasserstein-2 distance of projected samples.

    Args:
        one, other: [S, D], the same number of samples.
    """
    one, other = one.double(), other.double()
    generator = torch.Generator().manual_seed(seed)
    along = torch.randn(one.shape[-1], PROJECTIONS, generator=generator, dtype=torch.float64)
    along = along / along.norm(dim=0)
    gaps = (one @ along).sort(0).values - (other @ along).sort(0).values
    return float(gaps.square().mean().sqrt())


def c2st(one: torch.Tensor, other: torch.Tensor) -> float:
    """Accuracy of telling two sets of samples apart by the nearest neighbours left: 0.5 is none, 1 is complete.

    The classifier two-sample test with a nearest-neighbour classifier (Lopez-Paz and Oquab, 2017), leave one out.
    """
    together = torch.cat([one, other]).double()
    labels = torch.cat([torch.zeros(len(one)), torch.ones(len(other))])
    distance = torch.cdist(together, together).fill_diagonal_(math.inf)
    nearest = labels[distance.topk(NEIGHBOURS, largest=False).indices].mean(-1)
    return float(((nearest > 0.5).double() == labels).double().mean())


def influence_slope(moved: Mapping[float, torch.Tensor], still: torch.Tensor) -> float:
    """Growth of the posterior mean's shift with an outlier's size, on log scales: 1 for squared loss, 0 when bounded.

    Args:
        moved: [S, D] samples by the size of the outlier, two sizes.
        still: [S, D] samples without it.
    """
    (small, at_small), (large, at_large) = sorted(moved.items())
    shifts = [
        float((samples.double().mean(0) - still.double().mean(0)).norm()) for samples in (at_small, at_large)
    ]
    if min(shifts) <= 0:
        return 0.0
    return math.log(shifts[1] / shifts[0]) / math.log(large / small)
