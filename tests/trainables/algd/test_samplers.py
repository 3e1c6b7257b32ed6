"""The samplers against a Gaussian density, whose score is known at every level."""

import pytest
import torch
from flowsweep.trainables.algd.networks import Denoiser, denoise
from flowsweep.trainables.algd.samplers import Ddpm, VarianceExploding
from flowsweep.trainables.streams import Streams

ROWS = 40_000


def spread_of_samples(levels: int, deviation: float) -> float:
    """Standard deviation of what the exact score of N(0, deviation^2) leads the variance-exploding sampler to."""
    sampler = VarianceExploding.of(torch.tensor([0.01]), torch.tensor([1.0]), levels)
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(levels, 1, ROWS, 1, generator=draw)
    x = sampler.start(noise[0])
    for level in range(levels - 1, -1, -1):
        score = -x / (sampler.sigmas[0, level] ** 2 + deviation**2)
        x = sampler.step(x, level, (score, None), noise[level] if level else noise[0])
    return float(x.std())


def test_levels_rise_geometrically_from_the_smallest_to_the_largest_noise():
    sampler = VarianceExploding.of(torch.tensor([0.01]), torch.tensor([1.0]), 5)
    torch.testing.assert_close(sampler.sigmas[0], torch.tensor([0.01, 10**-1.5, 0.1, 10**-0.5, 1.0]))
    torch.testing.assert_close(sampler.widths.sum(), torch.tensor(1.0))
    assert VarianceExploding.of(torch.tensor([0.01]), torch.tensor([0.5]), 1).sigmas.tolist() == [[0.5]]


@pytest.mark.parametrize(
    ("levels", "deviation", "found"), [(5, 0.1, 0.196), (5, 0.3, 0.539), (20, 0.1, 0.113), (20, 0.3, 0.333)]
)
def test_five_levels_spread_samples_too_far_and_twenty_hardly(levels, deviation, found):
    """The published five steps nearly double the deviation: the known error of so few Euler steps."""
    assert spread_of_samples(levels, deviation) == pytest.approx(found, rel=0.03)


def test_without_a_score_noise_is_all_there_is():
    sampler = VarianceExploding.of(torch.tensor([0.01]), torch.tensor([1.0]), 5)
    noise = torch.randn(5, 1, ROWS, 1, generator=torch.Generator().manual_seed(0))
    x = sampler.start(noise[0])
    for level in range(4, -1, -1):
        x = sampler.step(x, level, (torch.zeros_like(x), None), noise[level])
    assert float(x.std()) == pytest.approx((1 + 0.9 + 0.09 + 0.009 + 0.0009) ** 0.5, rel=0.02)


def test_ddpm_with_the_exact_noise_and_no_score_keeps_a_unit_gaussian():
    sampler = Ddpm.of(50, 1, "cpu")
    noise = torch.randn(50, 1, ROWS, 1, generator=torch.Generator().manual_seed(0))
    x = sampler.start(noise[0])
    for level in range(49, -1, -1):
        predicted = (1 - sampler.kept[level]).sqrt() * x  # E[noise | x] where data are N(0, 1)
        x = sampler.step(x, level, (torch.zeros_like(x), predicted), noise[level])
    assert float(x.std()) == pytest.approx(1.0, abs=0.02)


def test_ddpm_is_pushed_along_the_score_by_one_length_whatever_its_size():
    sampler = Ddpm.of(5, 1, "cpu")
    x, nothing = torch.zeros(1, 1, 2), torch.zeros(1, 1, 2)
    pushed = sampler.step(x, 0, (torch.tensor([[[300.0, 400.0]]]), nothing), nothing)
    torch.testing.assert_close(pushed, torch.tensor([[[0.03, 0.04]]]))


@pytest.mark.parametrize("noise_head", [False, True])
def test_a_chain_keeps_the_latent_action_before_every_step_and_ends_in_the_last(noise_head):
    denoiser = Denoiser((3, 2), (16, 16), 4, noise_head)
    params = denoiser.init(Streams([0, 1], "init").generators)
    ve = VarianceExploding.of(torch.full((2,), 0.01), torch.ones(2), 4)
    sampler = Ddpm.of(4, 2, "cpu") if noise_head else ve
    states, noise = torch.randn(2, 6, 3), torch.randn(2, 4, 6, 2)
    chain = denoise(denoiser, params, sampler, states, noise)
    assert torch.equal(chain.before[3], sampler.start(noise[:, 0]))
    levels = torch.zeros(2, 6, dtype=torch.int64)
    score = denoiser.score_at(params, states, chain.before[0].tanh(), levels)
    if not noise_head:
        last = sampler.step(chain.before[0], 0, (score, None), noise[:, 0])
        torch.testing.assert_close(chain.final, last)
    assert not any(x.requires_grad for x in chain.before)
