"""How fast facts are journalled, and how fast they reach MLflow, in facts per CPU-second and CPU-microseconds per fact.

    python benchmarks/records.py [--facts 20000] [--trials 50]

A fact is a ``progress`` report of eight metrics of one seed, the ordinary case. MLflow is the embedded SQLite store.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flowsweep.platform.journal.events import SweepStarted, TrialProposed
from flowsweep.platform.journal.journal import Journal, read
from flowsweep.platform.paths import SweepPaths
from flowsweep.platform.record.results import read_sweep, write_tables
from flowsweep.platform.tracking.tracker import catch_up
from flowsweep.trainables.events import Progress

METRICS = (
    "critic_loss",
    "td_error",
    "q_mean",
    "penalty",
    "penalty_over_radius",
    "kl_nats",
    "alpha",
    "residual_rms",
)


def main() -> None:
    """Measure and print one line per path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--facts", type=int, default=20_000)
    parser.add_argument("--trials", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = SweepPaths(Path(folder) / "sweep")
        uri = f"sqlite:///{folder}/mlflow.db"
        print(f"{'':<34}{'facts':>8}{'CPU-s':>8}{'facts/CPU-s':>13}{'CPU-us/fact':>13}{'facts/s':>10}")
        with Journal(paths.journal) as journal:
            start(journal, options.trials)
            catch_up(
                paths, uri, "benchmark"
            )  # Imports MLflow and makes its tables: once per machine and process.
            measured("journal: append", options.facts, lambda: append(journal, options.facts, options.trials))
        measured("journal: read", options.facts, lambda: sum(1 for _ in read(paths.journal)))
        measured("tracker: to MLflow on SQLite", options.facts, lambda: catch_up(paths, uri))
        measured("results: record and Parquet", options.facts, lambda: write_tables(read_sweep(paths)))


def start(journal: Journal, trials: int) -> None:
    """Begin a sweep of that many trials."""
    spec = {
        "system": "benchmark",
        "dataset": "none",
        "objective": {"metric": "refine/loss", "direction": "minimize"},
    }
    journal.append(SweepStarted(name="benchmark", spec=spec))
    for n in range(trials):
        journal.append(
            TrialProposed(number=n, phase="search", params={}, seeds=[0], through="refine"), f"t{n}"
        )


def append(journal: Journal, facts: int, trials: int) -> None:
    """Reports of all trials in turn."""
    for n in range(facts):
        step, metrics = n // trials + 1, {name: [0.125 * n] for name in METRICS}
        journal.append(
            Progress(stage="refine", step=step, steps=1000, seeds=[0], metrics=metrics, cpu_s=0.1),
            f"t{n % trials}",
        )


def measured(what: str, facts: int, work: Callable[[], object]) -> None:
    """Run and print."""
    cpu_s, wall_s = cpu_seconds(), time.monotonic()
    work()
    cpu_s, wall_s = cpu_seconds() - cpu_s, time.monotonic() - wall_s
    print(
        f"{what:<34}{facts:>8}{cpu_s:>8.2f}{facts / cpu_s:>13,.0f}{1e6 * cpu_s / facts:>13.1f}{facts / wall_s:>10,.0f}"
    )


def cpu_seconds() -> float:
    """Of this process, all threads, in and out of the kernel."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
