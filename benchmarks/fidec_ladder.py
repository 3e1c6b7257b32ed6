"""FiDec beside what it must beat, under one protocol: same data, same sizes, same tuning budget, same test seeds.

    flowsweep data make pointmaze-umaze-detour --steps 50000
    python benchmarks/fidec_ladder.py --dataset flowsweep/pointmaze-umaze-detour-50k-v0 --trials 8 --seeds 100,101,102

Every method is one ordinary sweep: its first trial is its preset, the sampler proposes the rest, every trial runs to
its end, and the best is trained anew on the test seeds. The flow is trained once for all methods that start from the
same one. Finished sweeps are reused, interrupted ones continued: run the same command again. Behaviour cloning has
nothing to search here and takes one trial: it is the flow the others start from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from flowsweep.platform.cli.shared import numbers
from flowsweep.platform.journal.state import SweepState, TrialState
from flowsweep.platform.record.results import LeaderboardRow, leaderboard, savings
from flowsweep.platform.report.intervals import Comparison, compare
from flowsweep.trainables.base import load_system
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.lossless_json import dumps
from ladder_sweeps import METHODS, USUAL, carried_out

AGAINST = "fidec"


@dataclass(frozen=True)
class Rung:
    """What one method achieved.

    Attributes:
        mean, low, high, interval: of the metric over the test seeds, and how the interval was found.
        trials: configurations tried.
        cpu_s: process time of search and confirmation, what other sweeps had computed included.
        against: FiDec minus this method, paired over the test seeds.
    """

    method: str
    sweep: str
    mean: float
    low: float
    high: float
    interval: str
    seeds: tuple[int, ...]
    per_seed: tuple[float, ...]
    episodes: int
    trials: int
    cpu_s: float
    params: Mapping[str, Any]
    against: Comparison | None


def confirmation(record: SweepState) -> tuple[LeaderboardRow, TrialState]:
    """The trial that was trained anew on the test seeds.

    Raises:
        UserError: no trial of the search ran to its end.
    """
    for row in leaderboard(record):
        if row.phase == "confirm" and row.rank:
            return row, record.trials[row.trial]
    ends = {trial.reason for trial in record.trials.values() if trial.status != "finished"}
    raise UserError(f"confirmed nothing: {'; '.join(sorted(ends))}", key="sweep", value=record.name)


def side(trial: TrialState, metric: str):
    """Seeds, one value per seed, and episodes, as comparisons want them."""
    last = trial.last_evaluation(metric)
    assert last is not None
    return last.seeds, last.metrics[metric], last.episodes


def rungs(records: Mapping[str, SweepState], metric: str) -> list[Rung]:
    """Every method's result, best first."""
    confirmed = {name: confirmation(record) for name, record in records.items()}
    ours = side(confirmed[AGAINST][1], metric) if AGAINST in confirmed else None
    found = []
    for name, (row, trial) in confirmed.items():
        record, spent = records[name], savings(records[name])
        paired = compare(metric, ours, side(trial, metric)) if ours and name != AGAINST else None
        found.append(
            Rung(
                name, record.name, row.score.mean, row.score.low, row.score.high, row.score.method, row.seeds,
                row.per_seed, row.episodes, len(record.phase("search")),
                spent.computed_cpu_s + spent.reused_cpu_s, row.params, paired,
            )
        )  # fmt: skip
    return sorted(found, key=lambda rung: -rung.mean)


def show(found: list[Rung], metric: str) -> None:
    """The table for a person."""
    print(
        f"\n{'':<16}{metric + ' [95 %]':<28}{'trials':>7}{'CPU-s':>9}  {AGAINST + ' minus this':<34}best setting"
    )
    for rung in found:
        score = f"{rung.mean:.3f} [{rung.low:.3f}, {rung.high:.3f}]"
        pair, gain = rung.against, ""
        if pair:
            gain = f"{pair.difference:+.3f} [{pair.low:+.3f}, {pair.high:+.3f}] p={pair.p_value:.2g}"
        print(
            f"{rung.method:<16}{score:<28}{rung.trials:>7}{rung.cpu_s:>9,.0f}  {gain:<34}{numbers(rung.params)}"
        )
    first = found[0]
    print(
        f"\n{len(first.seeds)} test seeds x {first.episodes} episodes. Intervals: {first.interval}; differences paired over "
        "seeds, not adjusted for their number.\nCPU-s: search and confirmation, shared stages counted for each method."
    )


def arguments() -> argparse.Namespace:
    """What the command line says."""

    def whole(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    def pair(text: str) -> tuple[str, Any]:
        key, sign, value = text.partition("=")
        if not sign:
            raise argparse.ArgumentTypeError(f"{text!r} must look like KEY=VALUE")
        return key, yaml.safe_load(value)

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True)
    parser.add_argument(
        "--methods", default=",".join(USUAL), help="comma-separated; default all but fidec-joint"
    )
    parser.add_argument("--trials", type=int, default=8, help="configurations per method")
    parser.add_argument("--steps", type=int, default=20_000, help="gradient updates of every trained stage")
    parser.add_argument("--hidden", type=whole, default=[256, 256], help="widths of every network")
    parser.add_argument("--discount", type=float, default=0.99)
    parser.add_argument("--tune-seeds", type=whole, default=[0])
    parser.add_argument("--seeds", type=whole, default=[100, 101, 102], help="test seeds")
    parser.add_argument("--episodes", type=int, default=100, help="per seed, in search and confirmation")
    parser.add_argument("--metric", default="success_rate")
    parser.add_argument("--concurrent", type=int, default=None, help="trials at once")
    parser.add_argument("--space", type=pair, action="append", default=[], metavar="METHOD=NAME")
    parser.add_argument("--set", type=pair, action="append", default=[], metavar="STAGE.FIELD=VALUE")
    parser.add_argument(
        "--json", type=Path, help="also write the result here; printed below the table when absent"
    )
    options = parser.parse_args()
    options.space, options.methods = dict(options.space), options.methods.split(",")
    unknown = {*options.methods, *options.space} - set(METHODS)
    if unknown:
        parser.error(f"unknown methods {', '.join(sorted(unknown))}; choose from {', '.join(METHODS)}")
    stages = {stage.name for method in METHODS.values() for stage in load_system(method.system).stages}
    for key, _ in options.set:
        if key.partition(".")[0] not in stages:
            parser.error(f"--set {key}: no method has such a stage; choose from {', '.join(sorted(stages))}")
    return options


def main() -> None:
    """Run what is missing, compare, print."""
    options = arguments()
    try:
        records = {name: carried_out(name, METHODS[name], options) for name in options.methods}
        found = rungs(records, options.metric)
    except KeyboardInterrupt:
        sys.exit("stopped; everything is stored, and the same command continues")
    except UserError as error:
        sys.exit(str(error))
    show(found, options.metric)
    settings = {key: value for key, value in vars(options).items() if key != "json"}
    text = dumps({"settings": settings, "rungs": [asdict(rung) for rung in found]})
    if options.json:
        options.json.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
