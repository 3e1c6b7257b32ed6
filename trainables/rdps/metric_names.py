"""Every metric of the two stages, with its meaning. Free of torch."""

from __future__ import annotations

CONTAMINATED = {
    "psnr": "peak signal-to-noise ratio of single posterior samples, dB, mean over samples and problems",
    "ssim": "structural similarity of the posterior mean, windows of 3 by 3",
    "nrmse": "root mean square error of the posterior mean over the truth's standard deviation",
    "relative_l2": "error of the posterior mean over the truth, Euclidean norms",
    "energy_score": "energy score of the samples as a forecast of the truth; lower is better",
    "crps": "continuous ranked probability score, mean over entries; lower is better",
    "coverage_90": "share of entries whose truth lies in the samples' central 90 % interval; few samples cover less",
}
EXACT = {
    "sw2": "sliced Wasserstein-2 distance to the exact posterior given the untouched observations alone; absent "
    "where that is not known",
    "c2st": "accuracy of a nearest-neighbour test between samples and that posterior, 0.5 at best; absent with it",
}
COMPARED = {
    "psnr_plain": "psnr of the squared loss on the same data and noise; with compare_plain",
    "psnr_clean_plain": "the same on clean data; with compare_plain",
    "gain": "psnr above that of the squared loss on contaminated data, dB; with compare_plain",
    "price_clean": "psnr below that of the squared loss on clean data, dB; with compare_plain",
    "influence_slope": "growth of the posterior mean's shift as one observation moves from 100 to 10,000 noise "
    "deviations, log over log: 1 for the squared loss, 0 when bounded; with influence",
}


def _on_clean(metrics: dict[str, str]) -> dict[str, str]:
    return {f"{name}_clean": f"the same on clean data: {text}" for name, text in metrics.items()}


POSTERIOR = {
    **CONTAMINATED,
    **EXACT,
    **_on_clean(CONTAMINATED),
    **_on_clean(EXACT),
    **COMPARED,
    "denoiser_calls": "of the denoiser per posterior sample, products with its Jacobian counted as calls",
}
PRIOR = {
    "loss": "mean square error of the network's output on training batches; absent where the prior is known",
    "validation_loss": "the same on held-out examples under fixed noise, of the averaged weights; absent likewise",
    "sw2_held_out": "sliced Wasserstein-2 distance of prior samples from as many truths held out",
    "psnr": "psnr of prior samples against truths they know nothing of: what no data at all score",
    "psnr_clean": "the same, so that the prior can stand beside trials judged on both; it reads no data",
}
