"""Problems per CPU-second of posterior sampling, and what running chains together and analytic derivatives are worth.

    python benchmarks/posterior_speed.py [--rounds 3] [--problems 24] [--json]

One torch thread, 80 levels, four samples per problem on contaminated digits (96 chains for 24 problems), the best of
interleaved rounds. An untrained denoiser of the default size takes as long as a trained one, so nothing is trained.

``together`` runs all problems in one program, ``one by one`` a problem at a time. ``autograd`` takes the same denoiser as
any callable, so that products with its Jacobian go through autograd. The reference is a plain prototype that took 0.7 to
1.6 seconds for 24 problems of four samples when the machine was quiet: 15 to 34 problems per second.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from flowsweep.trainables.nets import Params
from flowsweep.trainables.rdps.config import GUIDANCE
from flowsweep.trainables.rdps.contamination import Contamination
from flowsweep.trainables.rdps.denoiser import Denoiser, ResidualNetwork
from flowsweep.trainables.rdps.guidance import Inverse
from flowsweep.trainables.rdps.likelihood import Likelihood
from flowsweep.trainables.rdps.priors import AnyDenoiser
from flowsweep.trainables.rdps.problems.mixture import build
from flowsweep.trainables.rdps.problems.registry import open_problem
from flowsweep.trainables.rdps.samplers import sample
from flowsweep.trainables.rdps.schedule import Settings
from robust_cells import table

SAMPLES, REFERENCE = 4, 24 / 0.7


def untrained() -> Denoiser:
    """A denoiser of the default size; its output layer is drawn, so that no product is with zeros."""
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(64, 256, 3)
    params: Params = network.init([generator])
    params["out.weight"] = torch.randn(1, 256, 64, generator=generator) / 160
    return Denoiser(network, params, torch.full((64,), -0.4), 0.54)


def by_autograd(denoiser: Denoiser) -> AnyDenoiser:
    """The same denoiser as any callable."""

    def denoise(x: torch.Tensor, level: float) -> torch.Tensor:
        levels = x.new_full((1, 1, 1), level)
        return denoiser.denoised(x, levels, denoiser.network(denoiser.params, denoiser.inputs(x, levels)))

    return AnyDenoiser(denoise, denoiser.variance)


def digits(prior, problems: int, sampler: str, kind: str, at_once: int) -> Callable[[], None]:
    """All problems, ``at_once`` in one program."""
    problem = open_problem("digits-cs")
    data = problem.cases("tune", 0, range(problems), Contamination(0.1)).soiled

    def run() -> None:
        for first in range(0, problems, at_once):
            chains = data[first : first + at_once].repeat_interleave(SAMPLES, 0).unsqueeze(0)
            inverse = Inverse(prior, problem.operator, Likelihood(kind), problem.noise, chains)
            settings = Settings(sampler, guidance=GUIDANCE.get(sampler, 1.0))
            sample(inverse, settings, lambda count, size=chains.shape[1]: torch.randn(count, 1, size, 64))

    return run


def mixture(prior, problem, sampler: str, problems: int) -> Callable[[], None]:
    """The same for the mixture's exact score, double precision."""
    data = problem.cases("tune", 0, range(problems), Contamination(0.1)).soiled
    chains = data.repeat_interleave(SAMPLES, 0).unsqueeze(0)

    def run() -> None:
        inverse = Inverse(prior, problem.operator, Likelihood("cauchy"), problem.noise, chains)
        settings = Settings(sampler, guidance=GUIDANCE.get(sampler, 1.0))
        size = chains.shape[1]
        sample(inverse, settings, lambda count: torch.randn(count, 1, size, 16, dtype=torch.float64))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--problems", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    learned, known, problems = untrained(), build("mixture-cs", "cs"), options.problems
    score = AnyDenoiser(known.mixture.denoise, known.mixture.variance, torch.float64)
    runs = {
        ("digits", "dps_annealed squared", "together"): digits(
            learned, problems, "dps_annealed", "squared", problems
        ),
        ("digits", "dps_annealed cauchy", "together"): digits(
            learned, problems, "dps_annealed", "cauchy", problems
        ),
        ("digits", "dps_annealed cauchy", "autograd"): digits(
            by_autograd(learned), problems, "dps_annealed", "cauchy", problems
        ),
        ("digits", "dps_annealed cauchy", "one by one"): digits(
            learned, problems, "dps_annealed", "cauchy", 1
        ),
        ("digits", "pigdm cauchy", "together"): digits(learned, problems, "pigdm", "cauchy", problems),
        ("digits", "tmpd cauchy", "together"): digits(learned, problems, "tmpd", "cauchy", problems),
        ("digits", "daps cauchy", "together"): digits(learned, problems, "daps", "cauchy", problems),
        ("digits", "huber_cg cauchy", "together"): digits(learned, problems, "huber_cg", "cauchy", problems),
        ("mixture", "dps_annealed cauchy", "together"): mixture(
            known.mixture, known, "dps_annealed", problems
        ),
        ("mixture", "dps_annealed cauchy", "autograd"): mixture(score, known, "dps_annealed", problems),
    }
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(options.rounds):
        for name, run in runs.items():
            started = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - started)
    rates = {name: problems / seconds for name, seconds in best.items()}
    if options.json:
        print(json.dumps([[*name, rate] for name, rate in rates.items()]))
        return
    rows = [
        [prior, what, how, f"{rate:.1f}", f"{rate / REFERENCE:.2f}" if prior == "digits" else ""]
        for (prior, what, how), rate in rates.items()
    ]
    print(table(["prior", "sampler", "how", "problems per CPU-s", "of the reference's best"], rows))


if __name__ == "__main__":
    main()
