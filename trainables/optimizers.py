"""Adam over stacked parameters, with one learning rate per lane.

Legend: P lanes. Parameters and moments are [P, ...] and stay stacked; where lanes have different learning
rates, the fused kernel runs once per lane on views.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch.optim.adam import adam

from .nets import Params


class PopulationAdam:
    """Adam (Kingma and Ba, 2015) for P lanes, by torch's fused kernel.

    Args:
        params: parameters [P, ...], updated in place.
        learning_rates: [P] one per lane.
        apart: run the kernel lane by lane even where all rates are equal. It rounds the end of an array another way,
            so that only then a lane of few parameters equals itself alone to the last bit.
    """

    def __init__(self, params: Params, learning_rates: Sequence[float], apart: bool = False):
        self.params = params
        self.learning_rates = [float(rate) for rate in learning_rates]
        self.first = {name: torch.zeros_like(value) for name, value in params.items()}
        self.second = {name: torch.zeros_like(value) for name, value in params.items()}
        self.steps = 0
        # The kernel wants a count per tensor, on the device, and raises them itself.
        device = next(iter(params.values())).device
        together = len(set(self.learning_rates)) == 1 and not apart
        groups = 1 if together else len(self.learning_rates)
        self._counts = [[torch.zeros((), device=device) for _ in params] for _ in range(groups)]

    @torch.no_grad()
    def step(self, gradients: Mapping[str, torch.Tensor]) -> None:
        """One update from gradients named and shaped like the parameters."""
        # The kernel reads memory in order, whatever the strides; compiled programs may leave a gradient transposed.
        gradients = {name: value.contiguous() for name, value in gradients.items()}
        for lane, counts in enumerate(self._counts):
            # One group means one rate: the whole stack at once. Else this lane's views.
            part = slice(None) if len(self._counts) == 1 else slice(lane, lane + 1)
            adam(
                params=[value[part] for value in self.params.values()],
                grads=[gradients[name][part] for name in self.params],
                exp_avgs=[value[part] for value in self.first.values()],
                exp_avg_sqs=[value[part] for value in self.second.values()],
                max_exp_avg_sqs=[],
                state_steps=counts,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self.learning_rates[lane],
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )
        self.steps += 1

    def tensors(self) -> Params:
        """Moments by name; the count of steps is :attr:`steps`."""
        return {f"{kind}.{name}": value for kind, name, value in self._moments()}

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, torch.Tensor], steps: int) -> None:
        """Continue from :meth:`tensors` and the count that belonged to them."""
        for kind, name, value in self._moments():
            value.copy_(tensors[f"{kind}.{name}"])
        self.steps = steps
        for count in (count for counts in self._counts for count in counts):
            count.fill_(steps)

    def _moments(self) -> Iterator[tuple[str, str, torch.Tensor]]:
        for kind, moments in (("first", self.first), ("second", self.second)):
            for name, value in moments.items():
                yield kind, name, value


def gradient_norm(gradients: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """[P] Euclidean norm over all parameters of each lane."""
    norms = [torch.linalg.vector_norm(value.reshape(len(value), -1), dim=1) for value in gradients.values()]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)


def scaled(gradients: Mapping[str, torch.Tensor], factor: torch.Tensor) -> Params:
    """Every gradient times the factor of its lane.

    Args:
        gradients: [P, ...] by name; scaled in place.
        factor: [P].
    """
    for value in gradients.values():
        value.mul_(factor.view(-1, *[1] * (value.dim() - 1)))
    return dict(gradients)


def clip_factor(norm: torch.Tensor, limit: float) -> torch.Tensor:
    """[P] factor that brings a norm down to ``limit`` where it is above."""
    return (limit / norm.clamp_min(limit)).detach()


def clipped(
    gradients: Mapping[str, Params], limit: float, kind: Literal["module", "global", "none"]
) -> dict[str, Params]:
    """Gradients no longer than ``limit``, lane by lane.

    Args:
        gradients: [P, ...] by module and name; scaled in place.
        limit: largest norm.
        kind: limit every module's norm, that of all modules together, or none.
    """
    if kind == "none":
        return dict(gradients)
    norms = {module: gradient_norm(gradient) for module, gradient in gradients.items()}
    if kind == "global":
        total: torch.Tensor = torch.stack(list(norms.values())).square().sum(0).sqrt()
        norms = dict.fromkeys(norms, total)
    return {module: scaled(gradients[module], clip_factor(norm, limit)) for module, norm in norms.items()}
