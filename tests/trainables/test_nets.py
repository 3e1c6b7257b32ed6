import math

import pytest
import torch
from flowsweep.trainables.nets import MLP, move_towards, trainable
from flowsweep.trainables.streams import Streams


def generators(*seeds):
    return Streams(seeds, "init").generators


@pytest.mark.parametrize("members", [None, 3])
def test_each_lane_computes_what_it_computes_alone(members):
    network = MLP(5, 2, (16, 16), layer_norm=members is not None, members=members)
    params, inputs = network.init(generators(0, 1)), torch.randn(2, 9, 5)
    together = network(params, inputs)
    for lane in range(2):
        alone = network(
            {name: value[lane : lane + 1] for name, value in params.items()}, inputs[lane : lane + 1]
        )
        torch.testing.assert_close(together[lane : lane + 1], alone, rtol=1e-6, atol=1e-6)


def test_each_ensemble_member_is_a_network_of_its_own():
    ensemble, single = MLP(4, 1, (8,), layer_norm=True, members=3), MLP(4, 1, (8,), layer_norm=True)
    params, inputs = ensemble.init(generators(0)), torch.randn(1, 6, 4)
    values = ensemble(params, inputs)
    assert values.shape == (1, 3, 6, 1)
    for member in range(3):
        alone = single({name: value[:, member] for name, value in params.items()}, inputs)
        torch.testing.assert_close(values[:, member], alone)


def test_a_network_equals_the_same_layers_written_out():
    network = MLP(3, 2, (4,), layer_norm=True)
    params, x = network.init(generators(7)), torch.randn(1, 5, 3)
    hidden = torch.nn.functional.gelu(x[0] @ params["0.weight"][0] + params["0.bias"][0])
    hidden = (hidden - hidden.mean(-1, keepdim=True)) / (
        hidden.var(-1, unbiased=False, keepdim=True) + 1e-6
    ).sqrt()
    expected = hidden @ params["1.weight"][0] + params["1.bias"][0]
    torch.testing.assert_close(network(params, x)[0], expected)


def test_the_published_units_equal_the_same_layers_written_out():
    network = MLP(3, 2, (4,), layer_norm=True, members=2, tanh_gelu=True, affine_norm=True)
    params, x = network.init(generators(7)), torch.randn(1, 5, 3)
    assert params["0.scale"].unique().tolist() == [1.0]
    assert not params["0.shift"].any()
    params = {name: value + 0.1 * torch.randn_like(value) for name, value in params.items()}
    for member in (0, 1):
        w, b, scale, shift, w_out, b_out = (
            params[name][0, member]
            for name in ("0.weight", "0.bias", "0.scale", "0.shift", "1.weight", "1.bias")
        )
        hidden = x[0] @ w + b
        hidden = 0.5 * hidden * (1 + (math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)).tanh())
        centred = hidden - hidden.mean(-1, keepdim=True)
        hidden = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * scale + shift
        torch.testing.assert_close(network(params, x)[0, member], hidden @ w_out + b_out)


def test_kernels_start_inside_the_glorot_bound_and_differ_between_lanes():
    params = MLP(30, 20, (50,)).init(generators(0, 1))
    assert params["0.weight"].abs().max() <= math.sqrt(6 / 80)
    assert params["0.weight"].abs().max() > 0.95 * math.sqrt(6 / 80)
    assert not torch.equal(params["0.weight"][0], params["0.weight"][1])
    assert not params["0.bias"].any()


def test_a_zero_output_makes_the_network_zero_everywhere_but_leaves_the_rest():
    network = MLP(3, 2, (8,))
    params = network.init(generators(0), zero_output=True)
    assert not network(params, torch.randn(1, 10, 3)).any()
    assert torch.equal(params["0.weight"], network.init(generators(0))["0.weight"])


def test_targets_move_their_lane_s_share_of_the_way():
    source = {"w": torch.ones(2, 3)}
    target = {"w": torch.zeros(2, 3)}
    move_towards(target, source, torch.tensor([0.25, 1.0]))
    assert target["w"].tolist() == [[0.25] * 3, [1.0] * 3]


def test_trainable_parameters_are_copies():
    original = {"w": torch.ones(1, 2)}
    copy = trainable(original, "cpu")["w"]
    with torch.no_grad():
        copy.zero_()
    assert original["w"].tolist() == [[1.0, 1.0]]
    assert copy.requires_grad


def test_multiplications_are_counted_over_all_members():
    assert MLP(3, 2, (4, 5), members=2).multiplications == 2 * (12 + 20 + 10)
