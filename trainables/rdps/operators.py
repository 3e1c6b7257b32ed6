"""What turns an unknown into data: a matrix, a nonlinear map, or any object with ``A`` and ``A_adjoint``.

Legend: B chains (any leading axes), D unknowns, M observations.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch

from ..errors import UserError
from .products import apply

POWER_ITERATIONS = 60
ADJOINT_TOLERANCE = 1e-3
"""Relative mismatch of <A x, r> and <x, A' r> from which on an adjoint is none; rounding stays a hundred times below."""
LARGEST_MATRIX = 2**24
"""Entries up to which a foreign linear operator is written out as a matrix."""


class Operator(Protocol):
    """The forward map of a problem; the names are those of deepinv's physics.

    Attributes:
        linear: whether A is linear, its Jacobian then the same everywhere.
        unknowns, observations: D and M.
        block: neighbouring observations that fail together (the two parts of a complex reading); 1 where none do.
    """

    @property
    def linear(self) -> bool: ...
    @property
    def unknowns(self) -> int: ...
    @property
    def observations(self) -> int: ...
    @property
    def block(self) -> int: ...

    def A(self, x: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """[..., D] to [..., M]."""
        ...

    def A_vjp(self, x: torch.Tensor, r: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """The transposed Jacobian at x applied to r: [..., M] to [..., D]."""
        ...

    def jacobian(self, x: torch.Tensor) -> torch.Tensor:
        """[M, D] where it is the same everywhere, else [..., M, D]."""
        ...

    def norm_squared(self, x: torch.Tensor) -> torch.Tensor:
        """Largest eigenvalue of J'J at x: 0-d where it is the same everywhere, else [..., 1]."""
        ...

    def row_norms_squared(self, x: torch.Tensor) -> torch.Tensor:
        """Squared length of every row of the Jacobian: [M], or [..., M]."""
        ...


class MatrixOperator:
    """A linear operator written out.

    Args:
        matrix: [M, D].
        block: neighbouring observations that fail together.
    """

    linear = True

    def __init__(self, matrix: torch.Tensor, block: int = 1):
        self.matrix, self.block = matrix, block
        self.observations, self.unknowns = matrix.shape
        self._rows = matrix.square().sum(-1)
        self._norm = power_iteration(matrix)

    def A(self, x: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """A x."""
        return apply(x, self.matrix.T)

    def A_adjoint(self, r: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """A' r."""
        return apply(r, self.matrix)

    def A_vjp(self, x: torch.Tensor, r: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """A' r, wherever x is."""
        return apply(r, self.matrix)

    def jacobian(self, x: torch.Tensor) -> torch.Tensor:
        """The matrix."""
        return self.matrix

    def norm_squared(self, x: torch.Tensor) -> torch.Tensor:
        """Its largest squared singular value."""
        return self._norm

    def row_norms_squared(self, x: torch.Tensor) -> torch.Tensor:
        """[M]."""
        return self._rows

    def to(self, device: str | torch.device, dtype: torch.dtype) -> MatrixOperator:
        """The same operator elsewhere or in another precision."""
        return MatrixOperator(self.matrix.to(device, dtype), self.block)


class NonlinearOperator:
    """What nonlinear operators share: norms read off the Jacobian. A subclass writes A, A_vjp and jacobian."""

    linear = False
    unknowns: int
    observations: int
    block = 1

    def A(self, x: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """[..., D] to [..., M]."""
        raise NotImplementedError

    def A_vjp(self, x: torch.Tensor, r: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """J(x)' r."""
        raise NotImplementedError

    def jacobian(self, x: torch.Tensor) -> torch.Tensor:
        """[..., M, D], row by row through :meth:`A_vjp` unless a subclass knows better."""
        rows = torch.eye(self.observations, dtype=x.dtype, device=x.device)
        return torch.stack([self.A_vjp(x, row.expand(*x.shape[:-1], -1)) for row in rows], -2)

    def norm_squared(self, x: torch.Tensor) -> torch.Tensor:
        """[..., 1] at each x."""
        return power_iteration(self.jacobian(x), iterations=12).unsqueeze(-1)

    def row_norms_squared(self, x: torch.Tensor) -> torch.Tensor:
        """[..., M] at each x."""
        return self.jacobian(x).square().sum(-1)


class ForeignNonlinear(NonlinearOperator):
    """A nonlinear physics of another package, by its ``A`` and ``A_vjp``.

    Args:
        physics: the object.
        shape: what it reads, without the batch axis.
    """

    def __init__(self, physics: Any, shape: tuple[int, ...], dtype: torch.dtype = torch.float32):
        self.physics, self.shape = physics, shape
        self.unknowns = math.prod(shape)
        probe = physics.A(torch.zeros(1, *shape, dtype=dtype))
        self._data_shape = probe.shape[1:]
        self.observations = probe[0].numel()

    def A(self, x: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """Through the physics, with its shape given and taken off again."""
        return self.physics.A(x.reshape(-1, *self.shape)).reshape(*x.shape[:-1], -1)

    def A_vjp(self, x: torch.Tensor, r: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """Through the physics."""
        found = self.physics.A_vjp(x.reshape(-1, *self.shape), r.reshape(-1, *self._data_shape))
        return found.reshape(x.shape)


def adapted(
    physics: Any, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> MatrixOperator | ForeignNonlinear:
    """Any object with ``A`` and ``A_adjoint`` (or ``A_vjp``) as an operator; deepinv's physics are such objects.

    A linear one is written out as a matrix, by which all samplers work, after its adjoint is checked.

    Args:
        physics: reads and gives tensors with a batch axis in front.
        shape: what it reads, without the batch axis.

    Raises:
        UserError: it lacks a method, is too large to write out, or its adjoint is not its adjoint.
    """
    for needed in ("A", "A_adjoint" if hasattr(physics, "A_adjoint") else "A_vjp"):
        if not callable(getattr(physics, needed, None)):
            raise UserError(
                f"has no method `{needed}`",
                key="operator",
                value=type(physics).__name__,
                fix="Give an object with `A` and `A_adjoint`, or `A` and `A_vjp` where it is nonlinear.",
            )
    if not hasattr(physics, "A_adjoint"):
        return ForeignNonlinear(physics, shape, dtype)
    unknowns = math.prod(shape)
    zero = physics.A(torch.zeros(1, *shape, dtype=dtype))
    if unknowns * zero[0].numel() > LARGEST_MATRIX:
        raise UserError(
            f"maps {unknowns:,} unknowns to {zero[0].numel():,} observations, too many to write out as a matrix",
            key="operator",
            value=type(physics).__name__,
            fix="Use a smaller image.",
        )
    check_adjoint(physics.A, physics.A_adjoint, shape, tuple(zero.shape[1:]), dtype, type(physics).__name__)
    basis = torch.eye(unknowns, dtype=dtype).reshape(unknowns, *shape)
    return MatrixOperator(physics.A(basis).reshape(unknowns, -1).T.contiguous())


def check_adjoint(
    forward: Any,
    adjoint: Any,
    shape: tuple[int, ...],
    data_shape: tuple[int, ...],
    dtype: torch.dtype,
    name: str,
) -> None:
    """The dot-product test: <A x, r> = <x, A' r> for a few drawn x and r.

    Raises:
        UserError: they differ by more than rounding.
    """
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        x = torch.randn(1, *shape, generator=generator, dtype=dtype)
        r = torch.randn(1, *data_shape, generator=generator, dtype=dtype)
        image, back = forward(x), adjoint(r)
        there, here = float((image * r).sum()), float((x * back).sum())
        size = float(image.norm() * r.norm()) + float(x.norm() * back.norm())
        if not abs(there - here) <= ADJOINT_TOLERANCE * max(size, 1e-30):
            raise UserError(
                f"its adjoint is not its adjoint: <A x, r> is {there:.6g}, <x, A' r> is {here:.6g}",
                key="operator",
                value=name,
                fix="Correct `A_adjoint`; guidance by a wrong adjoint leads anywhere.",
            )


def check_derivative(operator: Operator, x: torch.Tensor, name: str) -> None:
    """The dot-product test of a nonlinear operator at x, its Jacobian taken by central differences.

    Args:
        x: [D] float64, a point at which it is differentiable.

    Raises:
        UserError: ``A_vjp`` is not the transposed Jacobian.
    """
    generator, step = torch.Generator().manual_seed(0), 1e-5
    for _ in range(3):
        along = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        r = torch.randn(operator.observations, generator=generator, dtype=x.dtype)
        change = (operator.A(x + step * along) - operator.A(x - step * along)) / (2 * step)
        back = operator.A_vjp(x, r)
        there, here = float(change @ r), float(along @ back)
        if not abs(there - here) <= ADJOINT_TOLERANCE * float(
            change.norm() * r.norm() + along.norm() * back.norm()
        ):
            raise UserError(
                f"its derivative is not its derivative: <J v, r> is {there:.6g}, <v, J' r> is {here:.6g}",
                key="operator",
                value=name,
                fix="Correct `A_vjp`.",
            )


def power_iteration(matrix: torch.Tensor, iterations: int = POWER_ITERATIONS) -> torch.Tensor:
    """Largest eigenvalue of matrix' matrix, [...] for [..., M, D], from above by the margin it may still lack.

    Bounds steps: rows may be redundant, and then row lengths say too little.
    """
    start = torch.linspace(1.0, 2.0, matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    vector = torch.cos(7 * start).expand(*matrix.shape[:-2], -1).unsqueeze(-1)
    size = torch.ones(matrix.shape[:-2], dtype=matrix.dtype, device=matrix.device)
    for _ in range(iterations):
        vector = matrix.mT @ (matrix @ vector)
        length = torch.linalg.vector_norm(vector, dim=(-2, -1), keepdim=True)
        size = length[..., 0, 0]
        vector = vector / length.clamp(min=torch.finfo(matrix.dtype).tiny)
    return 1.02 * size
