"""The fused perceptron against the same layers as autograd knows them."""

import pytest
import torch
from flowsweep.trainables import perceptron, products
from flowsweep.trainables.nets import MLP
from flowsweep.trainables.streams import Streams

torch.set_num_threads(1)
pytestmark = pytest.mark.skipif(
    not products.WIDE_VECTORS, reason="this CPU or this PyTorch has no oneDNN with AVX-512"
)

FORMS = pytest.mark.parametrize(
    "options",
    [
        {},
        {"tanh_gelu": True},
        {"layer_norm": True},
        {"layer_norm": True, "affine_norm": True, "tanh_gelu": True},
        {"members": 2, "layer_norm": True},
        {"members": 2, "activation": "relu"},
        {"activation": "silu"},
    ],
    ids=lambda options: ",".join(options) or "plain",
)


def network(options: dict) -> tuple[MLP, dict[str, torch.Tensor], torch.Tensor]:
    """A network of two lanes that is large enough for oneDNN, with parameters away from their start."""
    torch.manual_seed(0)
    mlp = MLP(5, 3, (96, 96), **options)
    params = mlp.init(Streams([0, 1], "init").generators)
    params = {
        name: (value + 0.1 * torch.randn_like(value)).requires_grad_() for name, value in params.items()
    }
    inputs = torch.randn(2, 256, 5, requires_grad=True)
    assert products.worth_a_call_each(inputs, mlp.multiplications // (mlp.members or 1))
    return mlp, params, inputs


def gradients(values: torch.Tensor, of: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(torch.autograd.grad((values * torch.linspace(-1, 1, values.shape[-1])).sin().mean(), of))


@FORMS
def test_values_and_gradients_equal_those_of_autograd(options):
    mlp, params, inputs = network(options)
    wanted = [inputs, *params.values()]
    fused = mlp(params, inputs)
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        plain = mlp(params, inputs)
        expected = gradients(plain, wanted)
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)
    for mine, other in zip(gradients(fused, wanted), expected, strict=True):
        assert mine.shape == other.shape
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-6)


@FORMS
def test_a_gradient_is_the_same_whatever_else_is_asked_for(options):
    mlp, params, inputs = network(options)
    everything = dict(
        zip(["inputs", *params], gradients(mlp(params, inputs), [inputs, *params.values()]), strict=True)
    )
    fixed = {name: value.detach() for name, value in params.items()}
    assert torch.equal(gradients(mlp(fixed, inputs), [inputs])[0], everything["inputs"])
    for name in params:
        some = {**fixed, name: params[name]}
        (alone,) = gradients(mlp(some, inputs.detach()), [params[name]])
        assert torch.equal(alone, everything[name]), name


@FORMS
def test_a_lane_s_gradients_equal_those_it_has_alone_to_the_last_bit(options):
    mlp, params, inputs = network(options)
    together = gradients(2 * mlp(params, inputs), list(params.values()))
    alone = gradients(2 * mlp({n: v[1:] for n, v in params.items()}, inputs[1:]), list(params.values()))
    # The mean over two lanes halves each lane's gradient, exactly.
    for both, one in zip(together, alone, strict=True):
        assert torch.equal(2 * both[1:], one[1:])


@FORMS
def test_without_gradients_values_are_the_same_up_to_rounding(options):
    mlp, params, inputs = network(options)
    with torch.no_grad():
        alone = mlp(params, inputs)
    torch.testing.assert_close(alone, mlp(params, inputs).detach(), rtol=1e-4, atol=1e-5)


def test_second_derivatives_are_refused_rather_than_wrong():
    mlp, params, inputs = network({})
    (first,) = torch.autograd.grad(mlp(params, inputs).square().sum(), [inputs], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


def test_gelu_by_tanh_and_its_gradient_are_those_of_pytorch():
    sums = torch.linspace(-12, 12, 4001)[None].requires_grad_()
    expected = torch.nn.functional.gelu(sums, approximate="tanh")
    (slope,) = torch.autograd.grad(expected.sum(), sums)
    layer = perceptron._Layer(sums, sums.detach())
    values, layer.sigmoid = perceptron._activate(sums.detach(), tanh=True)
    torch.testing.assert_close(values, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        perceptron._activation_gradient(torch.ones_like(slope), layer), slope, rtol=1e-5, atol=2e-6
    )
