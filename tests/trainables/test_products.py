import pytest
import torch
from flowsweep.trainables import products
from flowsweep.trainables.nets import MLP
from flowsweep.trainables.products import affine, product, worth_a_call_each
from flowsweep.trainables.streams import Streams

torch.set_num_threads(1)

needs_wide_vectors = pytest.mark.skipif(
    not products.WIDE_VECTORS, reason="this CPU or this PyTorch has no oneDNN with AVX-512"
)


def tensors(rows, inputs, outputs):
    torch.manual_seed(0)
    return [
        torch.randn(size, requires_grad=True) for size in ((1, outputs), (rows, inputs), (inputs, outputs))
    ]


@needs_wide_vectors
@pytest.mark.parametrize(
    "size", [(64, 96, 48), (64, 23, 96), (64, 96, 6), (64, 96, 1), (1, 96, 48), (64, 1, 48)]
)
def test_values_and_gradients_equal_those_of_pytorch(size):
    bias, inputs, weight = tensors(*size)
    ours, theirs = affine(bias, inputs, weight), torch.addmm(bias, inputs, weight)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    ours, theirs = (torch.autograd.grad(y.sin().sum(), [bias, inputs, weight]) for y in (ours, theirs))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=2e-3)


@needs_wide_vectors
def test_gradients_of_gradients_equal_those_of_pytorch():
    bias, inputs, weight = tensors(8, 6, 4)
    found = []
    for multiply in (affine, torch.addmm):
        first = torch.autograd.grad(
            multiply(bias, inputs, weight).square().sum(), [inputs, weight], create_graph=True
        )
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), [inputs, weight]))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-3)


@needs_wide_vectors
def test_a_product_of_transposed_matrices_equals_pytorch_s():
    left, right = torch.randn(40, 30).t(), torch.randn(20, 40).t()
    torch.testing.assert_close(product(left, right), left @ right, rtol=1e-4, atol=1e-4)


@needs_wide_vectors
@pytest.mark.parametrize("options", [{}, {"tanh_gelu": True, "affine_norm": True}])
def test_a_large_ensemble_computes_the_same_one_by_one_and_batched(options):
    network = MLP(5, 1, (160, 160), layer_norm=True, members=2, **options)
    params, inputs = network.init(Streams([0, 1], "init").generators), torch.randn(2, 160, 5)
    params = {name: value.requires_grad_() for name, value in params.items()}
    assert worth_a_call_each(inputs, network.multiplications // 2)
    found = []
    for enabled in (True, False):
        with torch.backends.mkldnn.flags(enabled=enabled, allow_tf32=None):
            values = network(params, inputs)
            found.append([values, *torch.autograd.grad(values.square().mean(), list(params.values()))])
    assert found[0][0].shape == (2, 2, 160, 1)
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


@needs_wide_vectors
def test_a_lane_of_a_large_network_equals_itself_alone_to_the_last_bit():
    network = MLP(5, 2, (160, 160))
    params, inputs = network.init(Streams([0, 1], "init").generators), torch.randn(2, 160, 5)
    alone = network({name: value[1:] for name, value in params.items()}, inputs[1:])
    assert torch.equal(network(params, inputs)[1:], alone)


def test_small_networks_other_types_and_a_switched_off_onednn_stay_with_pytorch():
    many = products.FEWEST_MULTIPLICATIONS
    assert not worth_a_call_each(torch.zeros(1, 8, 3), many // 8 - 1)
    assert not worth_a_call_each(torch.zeros(1, 8, 3, dtype=torch.float64), many)
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        assert not worth_a_call_each(torch.zeros(1, 8, 3), many)


def test_an_exported_network_holds_no_operator_of_one_library():
    network = MLP(5, 2, (160, 160))
    params = network.init(Streams([0], "init").generators)

    class Module(torch.nn.Module):
        def forward(self, inputs):
            return network(params, inputs)

    program = torch.export.export(Module(), (torch.randn(1, 160, 5),))
    assert "mkldnn" not in program.graph_module.code
