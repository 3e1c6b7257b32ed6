"""Operators: norms, adjoints, foreign physics, derivatives."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.rdps.operators import (
    MatrixOperator,
    NonlinearOperator,
    adapted,
    check_derivative,
    power_iteration,
)
from flowsweep.trainables.rdps.problems.darcy import DarcyFlow
from flowsweep.trainables.rdps.problems.scattering import born_matrix


def matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (30, 4)])
def test_power_iteration_finds_the_largest_singular_value_and_does_not_fall_below(shape):
    drawn = matrix(*shape)
    exact = float(torch.linalg.matrix_norm(drawn, 2)) ** 2
    assert exact <= float(power_iteration(drawn)) <= 1.03 * exact


def test_power_iteration_works_matrix_by_matrix():
    drawn = torch.stack([matrix(5, 4, seed) for seed in range(3)])
    assert torch.allclose(power_iteration(drawn), torch.stack([power_iteration(one) for one in drawn]))


class Physics:
    """As deepinv's: tensors [B, C, H, W] in, another shape out."""

    def __init__(self, factor: float = 1.0):
        self.rows, self.factor = matrix(7, 12).float(), factor

    def A(self, x: torch.Tensor) -> torch.Tensor:  # noqa: N802
        return x.flatten(1) @ self.rows.T

    def A_adjoint(self, y: torch.Tensor) -> torch.Tensor:  # noqa: N802
        return self.factor * (y @ self.rows).reshape(-1, 1, 3, 4)


def test_any_object_with_an_adjoint_is_an_operator():
    operator = adapted(Physics(), (1, 3, 4))
    x, r = matrix(2, 12).float(), matrix(2, 7, 1).float()
    assert isinstance(operator, MatrixOperator)
    assert torch.allclose(operator.A(x), Physics().A(x), atol=1e-5)
    assert torch.allclose(operator.A_adjoint(r), Physics().A_adjoint(r).flatten(1), atol=1e-5)


def test_an_adjoint_that_is_none_is_refused():
    with pytest.raises(UserError, match="its adjoint is not its adjoint") as refused:
        adapted(Physics(factor=2.0), (1, 3, 4))
    assert refused.value.key == "operator"
    assert "A_adjoint" in str(refused.value)


def test_an_object_without_the_methods_is_refused_by_name():
    with pytest.raises(UserError, match="no method `A`"):
        adapted(SimpleNamespace(), (2,))
    with pytest.raises(UserError, match="no method `A_vjp`"):
        adapted(SimpleNamespace(A=lambda x: x), (2,))


def test_a_foreign_operator_too_large_to_write_out_is_refused():
    large = SimpleNamespace(A=lambda x: x, A_adjoint=lambda y: y)
    with pytest.raises(UserError, match="too many to write out"):
        adapted(large, (3, 128, 128))


def test_a_foreign_nonlinear_physics_goes_by_its_own_derivative():
    square = SimpleNamespace(A=lambda x: x.square().flatten(1), A_vjp=lambda x, v: 2 * x * v.reshape(x.shape))
    operator = adapted(square, (1, 2, 2), torch.float64)
    x = matrix(3, 4)
    assert torch.allclose(operator.jacobian(x), torch.diag_embed(2 * x))
    assert operator.norm_squared(x).shape == (3, 1)
    check_derivative(operator, x[0], "square")


class Wrong(NonlinearOperator):
    unknowns = observations = 3

    def A(self, x: torch.Tensor) -> torch.Tensor:  # noqa: N802
        return x.square()

    def A_vjp(self, x: torch.Tensor, r: torch.Tensor) -> torch.Tensor:  # noqa: N802
        return x * r


def test_a_derivative_that_is_none_is_refused():
    with pytest.raises(UserError, match="its derivative is not its derivative"):
        check_derivative(Wrong(), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), "wrong")


def test_darcy_flow_solves_its_equation():
    """Against the linear system of the same discretisation."""
    operator = DarcyFlow(8, 8)
    x = matrix(1, 8)[0]
    permeability, cell = x.exp(), 1 / 8
    system, source = torch.zeros(8, 8, dtype=torch.float64), operator.fed.diff(dim=1)
    for left in range(-1, 8):
        resistance = 0.0
        for side in (left, left + 1):
            if 0 <= side < 8:
                resistance += cell / 2 / float(permeability[side])
        for here, there in ((left, left + 1), (left + 1, left)):
            if 0 <= here < 8:
                system[here, here] += 1 / resistance
                if 0 <= there < 8:
                    system[here, there] -= 1 / resistance
    expected = torch.linalg.solve(system, source.T).T.flatten()
    assert torch.allclose(operator.A(x), expected)


def test_darcys_derivatives_are_autograds():
    operator, x, r = DarcyFlow(), matrix(2, 32), matrix(2, 45, 1)
    jacobian = torch.func.vmap(torch.func.jacrev(operator.A))(x)
    assert torch.allclose(operator.jacobian(x), jacobian)
    assert torch.allclose(operator.A_vjp(x, r), torch.einsum("bmd,bm->bd", jacobian, r))


def test_more_permeable_ground_holds_less_pressure():
    operator = DarcyFlow()
    assert torch.allclose(
        operator.A(torch.full((32,), 1.0).double()), operator.A(torch.zeros(32).double()) / 2.718281828
    )


def test_scattering_rows_are_pairs_of_unit_length_on_average():
    rows = born_matrix(8)
    assert rows.shape == (144, 64)
    assert float(rows.square().sum(1).mean()) == pytest.approx(1.0)
    # A wave turned by a sixth sees the turned scene: the same lengths again.
    lengths = rows.square().sum(1).reshape(6, 24)
    assert torch.allclose(lengths[0].sum(), lengths[3].sum())
