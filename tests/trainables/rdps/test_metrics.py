"""Metrics, against closed forms and other people's implementations."""

from __future__ import annotations

import math

import pytest
import torch
from flowsweep.trainables.rdps.metrics import (
    c2st,
    coverage,
    crps,
    energy_score,
    psnr,
    sliced_wasserstein,
    ssim,
)


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_psnr_is_the_range_over_the_error():
    truth = torch.zeros(10)
    assert psnr(torch.full((1, 10), 0.2), truth, 2.0).tolist() == pytest.approx([20.0])


def test_ssim_is_one_for_the_truth_and_less_for_another_image():
    image = normal(8, 8)
    assert ssim(image, image, 4.0) == pytest.approx(1.0)
    assert ssim(image, normal(8, 8, seed=1), 4.0) < 0.5
    assert ssim(image[0], image[0], 4.0) == pytest.approx(1.0)


def test_crps_of_a_normal_forecast_is_its_closed_form():
    truth = torch.tensor([0.7], dtype=torch.float64)
    law = torch.distributions.Normal(torch.zeros(1).double(), torch.ones(1).double())
    z = 0.7
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    expected = z * (2 * float(law.cdf(truth)) - 1) + 2 * density - 1 / math.sqrt(math.pi)
    assert crps(normal(20_000, 1), truth) == pytest.approx(expected, abs=0.01)


def test_the_energy_score_in_one_dimension_is_the_crps():
    drawn, truth = normal(500, 1), torch.tensor([0.3], dtype=torch.float64)
    assert energy_score(drawn, truth) == pytest.approx(crps(drawn, truth))


def test_the_energy_score_is_best_for_the_true_law():
    truths = normal(300, 4, seed=9)
    scores = {
        scale: sum(energy_score(scale * normal(60, 4, seed=i), t) for i, t in enumerate(truths))
        for scale in (0.4, 1.0, 2.5)
    }
    assert min(scores, key=scores.__getitem__) == 1.0


def test_coverage_of_calibrated_samples_is_its_level():
    found = sum(coverage(normal(400, 20, seed=i), normal(20, seed=1000 + i)) for i in range(50)) / 50
    assert found == pytest.approx(0.9, abs=0.03)


def test_sliced_wasserstein_of_a_shift_is_its_projection():
    drawn = normal(300, 5)
    shift = torch.tensor([3.0, 0, 0, 0, 0], dtype=torch.float64)
    assert sliced_wasserstein(drawn, drawn + shift) == pytest.approx(3 / 5**0.5, rel=0.1)
    assert sliced_wasserstein(drawn, drawn) == 0


def test_c2st_is_chance_for_equal_laws_and_complete_for_distant_ones():
    assert c2st(normal(400, 4), normal(400, 4, seed=1)) == pytest.approx(0.5, abs=0.06)
    assert c2st(normal(100, 4), normal(100, 4, seed=1) + 20) == 1.0
