import pytest
import torch
from flowsweep.trainables.optimizers import PopulationAdam, clip_factor, clipped, gradient_norm, scaled


def params_and_gradients(lanes=2):
    torch.manual_seed(0)
    params = {"w": torch.randn(lanes, 4, 3), "b": torch.randn(lanes, 1, 3)}
    return params, [{name: torch.randn_like(value) for name, value in params.items()} for _ in range(5)]


@pytest.mark.parametrize("rates", [[1e-2, 1e-2], [1e-2, 1e-3]])
def test_every_lane_is_updated_as_by_torch_s_own_adam(rates):
    params, gradients = params_and_gradients()
    reference = [{name: value[lane].clone() for name, value in params.items()} for lane in range(2)]
    ours = PopulationAdam(params, rates)
    theirs = [torch.optim.Adam(list(reference[lane].values()), lr=rates[lane]) for lane in range(2)]
    for gradient in gradients:
        ours.step(gradient)
        for lane in range(2):
            for name, value in reference[lane].items():
                value.grad = gradient[name][lane]
            theirs[lane].step()
    for lane in range(2):
        for name, value in reference[lane].items():
            torch.testing.assert_close(params[name][lane], value)


def test_a_gradient_that_lies_transposed_in_memory_moves_the_same_entries():
    params, gradients = params_and_gradients()
    copy = {name: value.clone() for name, value in params.items()}
    PopulationAdam(params, [1e-2, 1e-3]).step(gradients[0])
    transposed = {name: value.mT.contiguous().mT for name, value in gradients[0].items()}
    assert not transposed["w"].is_contiguous()
    PopulationAdam(copy, [1e-2, 1e-3]).step(transposed)
    assert all(torch.equal(params[name], copy[name]) for name in params)


def test_adam_continues_bit_equal_from_its_tensors_and_count():
    params, gradients = params_and_gradients()
    optimizer = PopulationAdam(params, [1e-2, 1e-3])
    for gradient in gradients[:2]:
        optimizer.step(gradient)
    copy = {name: value.clone() for name, value in params.items()}
    resumed = PopulationAdam(copy, [1e-2, 1e-3])
    resumed.load_tensors(
        {name: value.clone() for name, value in optimizer.tensors().items()}, optimizer.steps
    )
    for gradient in gradients[2:]:
        optimizer.step(gradient)
        resumed.step(gradient)
    assert all(torch.equal(params[name], copy[name]) for name in params)


def test_only_the_lane_whose_gradient_is_too_long_is_shortened():
    gradients = {"a": torch.tensor([[3.0, 0.0], [0.3, 0.0]]), "b": torch.tensor([4.0, 0.4])}
    norm = gradient_norm(gradients)
    torch.testing.assert_close(norm, torch.tensor([5.0, 0.5]))
    clipped = scaled(gradients, clip_factor(norm, 1.0))
    torch.testing.assert_close(gradient_norm(clipped), torch.tensor([1.0, 0.5]))


@pytest.mark.parametrize(
    ("kind", "norms"), [("module", [1.0, 1.0]), ("global", [0.6, 0.8]), ("none", [3.0, 4.0])]
)
def test_clipping_limits_each_module_or_all_together_or_nothing(kind, norms):
    gradients = {"a": {"w": torch.tensor([[3.0, 0.0]])}, "b": {"w": torch.tensor([[0.0, 4.0]])}}
    after = clipped(gradients, 1.0, kind)
    assert [gradient_norm(after[module]).item() for module in ("a", "b")] == pytest.approx(norms)
