"""Fisher geometry of the behaviour policy: scores read off its flow, and the quadratic form they give.

Legend: P lanes, B batch, K samples per state, O observation size, A action size.

For a flow x_t = (1 - t) x_0 + t x_1 with x_0 ~ N(0, I), the marginal at time t has the score
(t v(x, t) - x) / (1 - t). Displacing actions a by delta changes the policy by KL ~ 1/2 E[delta^T F delta] to
second order, F = E[score score^T], when the displacement's divergence is neglected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from .flow import Velocity

Estimator = Literal["gaussian", "velocity"]


def score_at(
    velocity: Velocity, states: torch.Tensor, points: torch.Tensor, times: torch.Tensor, estimator: Estimator
) -> torch.Tensor:
    """The score of the flow's marginal at ``times``.

    Args:
        velocity: the flow.
        states: [P, B, O]; points: [P, B, A]; times: [P, B, 1] in (0, 1).
        estimator: ``gaussian``, the marginal's score; ``velocity``, v / (1 - t) as in the public code, which
            lacks the -x term.

    Returns:
        [P, B, A].
    """
    v = velocity(states, points, times)
    toward = v if estimator == "velocity" else times * v - points
    return toward / (1 - times)


def fisher_times(uniform: torch.Tensor, time: float, width: float) -> torch.Tensor:
    """Times spread over [time - width, time], kept inside [0.001, 0.999]; ``uniform`` is in [0, 1)."""
    low, high = (min(max(edge, 1e-3), 0.999) for edge in (time - width, time))
    return low + (high - low) * uniform


def scores_of_samples(
    velocity: Velocity,
    states: torch.Tensor,
    actions: torch.Tensor,
    noise: torch.Tensor,
    times: torch.Tensor,
    *,
    estimator: Estimator = "gaussian",
    point: Literal["noised", "clean"] = "noised",
) -> torch.Tensor:
    """Scores at samples of the flow.

    Args:
        velocity: the flow.
        states: [P, B, O]; actions: [P, B, A] samples at these states.
        noise: [P, B, A] standard normal; times: [P, B, 1].
        estimator: see :func:`score_at`.
        point: read at the sample carried back to time t by ``noise``, or at the clean sample.

    Returns:
        [P, B, A].
    """
    points = actions if point == "clean" else (1 - times) * noise + times * actions
    return score_at(velocity, states, points, times, estimator)


@dataclass(frozen=True)
class Fisher:
    """The Fisher matrix of every row of a batch, in whichever form is smallest.

    Attributes:
        scores: [..., K, A]; the matrix is the mean of their outer products.
        matrix: [..., A, A].
        Neither given: the identity.
    """

    scores: torch.Tensor | None = None
    matrix: torch.Tensor | None = None

    @property
    def is_identity(self) -> bool:
        """Whether nothing was estimated: quadratic forms are then square lengths, and no KL."""
        return self.scores is None and self.matrix is None

    def quadratic(self, displacement: torch.Tensor) -> torch.Tensor:
        """delta^T F delta for displacements [..., A]; [...]."""
        if self.scores is not None:
            projections = (self.scores * displacement.unsqueeze(-2)).sum(-1)
            return projections.square().mean(-1)
        if self.matrix is not None:
            return ((self.matrix * displacement.unsqueeze(-2)).sum(-1) * displacement).sum(-1)
        return displacement.square().sum(-1)

    def trace(self, like: torch.Tensor) -> torch.Tensor:
        """tr F, [...]; ``like`` is [..., A] and gives shape and size for the identity."""
        if self.scores is not None:
            return self.scores.square().sum(-1).mean(-1)
        if self.matrix is not None:
            return self.matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
        return like.new_full(like.shape[:-1], like.shape[-1])

    def as_matrix(self, like: torch.Tensor) -> torch.Tensor:
        """F itself, [..., A, A]; ``like`` is [..., A] and gives shape and size for the identity."""
        if self.scores is not None:
            return outer_mean(self.scores)
        if self.matrix is not None:
            return self.matrix
        return torch.eye(like.shape[-1], device=like.device).expand(*like.shape, -1)


def outer_mean(scores: torch.Tensor) -> torch.Tensor:
    """Mean outer product of scores [..., K, A]; [..., A, A]."""
    return scores.transpose(-1, -2) @ scores / scores.shape[-2]


def eigenvalue_spread(matrix: torch.Tensor) -> torch.Tensor:
    """Largest over mean eigenvalue of [..., A, A]: 1 when isotropic, A when one direction carries all."""
    largest = torch.linalg.eigvalsh(matrix)[..., -1]
    mean = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
    return largest / mean.clamp_min(1e-12)


@dataclass(frozen=True)
class Metric:
    """How a Fisher matrix becomes the penalty whose mean the radius bounds.

    Attributes:
        damping: ``relative`` counts in mean eigenvalues of the state's matrix, ``absolute`` as it stands.
        damping_value: [P] multiple of the identity that is added.
        normalization: ``per_state_trace`` divides by the state's damped mean eigenvalue and by A, so that an
            isotropic matrix of any size gives the mean square displacement; ``dataset_trace`` divides by the
            dataset's, so that tight states are dearer than loose ones; ``none`` gives half the quadratic form, nats.
        dataset_trace: [P] mean tr F over the dataset; read by ``dataset_trace`` only.

    Raises:
        ValueError: ``dataset_trace`` without that mean.
    """

    damping: Literal["relative", "absolute"]
    damping_value: torch.Tensor
    normalization: Literal["per_state_trace", "dataset_trace", "none"]
    dataset_trace: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.normalization == "dataset_trace" and self.dataset_trace is None:
            raise ValueError("normalization by the dataset's trace needs that trace")

    def penalty(self, fisher: Fisher, displacement: torch.Tensor) -> torch.Tensor:
        """The penalty of each displacement [P, B, A]; [P, B]."""
        size = displacement.shape[-1]
        mean_eigenvalue = fisher.trace(displacement) / size
        ridge = self._ridge(mean_eigenvalue)
        form = fisher.quadratic(displacement) + ridge * displacement.square().sum(-1)
        if self.normalization == "none":
            return 0.5 * form
        if self.normalization == "dataset_trace" and self.dataset_trace is not None:
            # The ridge is linear in the eigenvalue, so that of the mean is the dataset's mean ridge.
            mean_eigenvalue = (self.dataset_trace / size).unsqueeze(-1)
            ridge = self._ridge(mean_eigenvalue)
        return form / ((mean_eigenvalue + ridge).clamp_min(1e-6) * size)

    def eigenvalue_spread(self, fisher: Fisher, like: torch.Tensor) -> torch.Tensor:
        """Largest over mean eigenvalue of the damped matrices, for rows like [P, B, A]; [P, B]."""
        mean_eigenvalue = fisher.trace(like) / like.shape[-1]
        largest = eigenvalue_spread(fisher.as_matrix(like)) * mean_eigenvalue
        ridge = self._ridge(mean_eigenvalue)
        return (largest + ridge) / (mean_eigenvalue + ridge).clamp_min(1e-12)

    def _ridge(self, mean_eigenvalue: torch.Tensor) -> torch.Tensor:
        value = self.damping_value.unsqueeze(-1)
        return value * mean_eigenvalue if self.damping == "relative" else value.expand_as(mean_eigenvalue)
