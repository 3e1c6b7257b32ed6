"""What a sweep of many short trials costs on top of the trials, beside plain Ray Tune doing the same work.

    python benchmarks/platform_scale.py --trials 1000 --slots 8 --control-trials 200

A trial sleeps one second in ten steps, so everything above ``trials / slots`` seconds is the platform's. Both sides
embed Ray on this machine, ask for the same slots, draw from an Optuna TPE sampler, report every step, reuse actors and
record every trial in MLflow on SQLite. flowsweep's side is the ordinary command line; the control is Tune with its own
OptunaSearch and MLflowLoggerCallback. They run one after the other, each in a process of its own.

Then the same sweep is extended: how long from the command to the first new step, with all earlier trials on record.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import yaml
from flowsweep.platform.journal.events import Entry
from flowsweep.platform.journal.journal import read
from flowsweep.platform.paths import Home, SweepPaths
from flowsweep.platform.tracking.tracker import catch_up
from flowsweep.trainables.lossless_json import dumps
from plain_tune import plain_tune

TOY = Path(__file__).parent.parent / "tests" / "support" / "toy"
STEPS = 10
RESUMED = 8  # trials added by the extension
NAME = "scale"


@dataclass(frozen=True)
class Ran:
    """One side of the comparison.

    Attributes:
        wall_s: from the command to its end, start of Ray and everything included.
        steady_s: from the first trial placed to the last one ended; None where nothing tells.
        driver_cpu_s: processor time of the driver process.
        driver_mib: its largest resident size.
        trials: that were recorded in MLflow.
        middle: over the ideal between the ends of the first and the third quarter of the trials, once all slots have
            their workers; None where nothing tells.
    """

    wall_s: float
    steady_s: float | None
    driver_cpu_s: float
    driver_mib: float
    trials: int
    middle: float | None = None


def main() -> None:
    """Run both sides, extend ours, print ratios."""
    options = arguments()
    if options.control:
        print(dumps({"steady_s": plain_tune(options, STEPS)}))
        return
    ideal_s = options.trials * options.trial_s / options.slots
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        environment = {**os.environ, "FLOWSWEEP_HOME": str(home.root), "PYTHONPATH": str(TOY)}
        ours = flowsweep(options, home, environment)
        show("flowsweep", ours, ideal_s)
        resumed_s = extended(options, home, environment)
        facts, per_s = tracked_per_s(home, Path(folder))
        control = None if options.alone else tune_control(options, folder, environment)
        if control:
            show(
                "Ray Tune + OptunaSearch + MLflow", control, ideal_s * options.control_trials / options.trials
            )
    report = {
        "settings": vars(options),
        "ideal_s": ideal_s,
        "flowsweep": asdict(ours),
        "ray_tune": control and asdict(control),
        "resume_to_first_step_s": resumed_s,
        "facts": facts,
        "facts_tracked_per_s": per_s,
    }
    print(f"\nextended by {RESUMED} trials: {resumed_s:.1f} s from the command to the first new step")
    print(f"{facts:,} facts on record; all of them sent to an empty MLflow at {per_s:,.0f} facts/s")
    if control:
        share = options.control_trials / options.trials
        print(
            f"flowsweep / Ray Tune, per trial: wall {ours.wall_s * share / control.wall_s:.2f}, "
            f"driver CPU {ours.driver_cpu_s * share / control.driver_cpu_s:.2f}; "
            f"driver memory {ours.driver_mib / control.driver_mib:.2f}"
        )
    if options.json:
        options.json.write_text(dumps(report) + "\n")


def flowsweep(options: argparse.Namespace, home: Home, environment: Mapping[str, str]) -> Ran:
    """The sweep by the command line."""
    file = home.root.parent / "sweep.yaml"
    file.write_text(yaml.safe_dump(sweep(options)))
    wall_s, cpu_s, mib = watched([*command(), "run", str(file), "--quiet"], environment)
    facts = list(read(home.sweep(NAME).journal))
    started = [fact.time for fact in facts if fact.event.kind == "trial_placed"]
    ended = [fact.time for fact in facts if fact.event.kind == "trial_ended"]
    if len(ended) != options.trials:
        raise SystemExit(f"{len(ended)} of {options.trials} trials ended")
    first, third = len(ended) // 4, 3 * len(ended) // 4
    each_s = (ended[third] - ended[first]) / (third - first)
    return Ran(
        wall_s,
        ended[-1] - started[0],
        cpu_s,
        mib,
        recorded(home.mlflow_uri, "flowsweep/toy"),
        each_s * options.slots / options.trial_s - 1,
    )


def sweep(options: argparse.Namespace) -> dict:
    """The sweep file."""
    return {
        "name": NAME,
        "system": "toy",
        "dataset": "toy/scale",
        "stages": {"base": {"steps": 1}, "tune": {"steps": STEPS, "pause_s": options.trial_s / STEPS}},
        "objective": {"metric": "tune/return", "direction": "maximize"},
        "search": {"sampler": "tpe", "trials": options.trials},
        "evaluation": {"episodes": 1},
        "confirm": {"top": 0},
        "resources": {"cpus": options.cpus, "concurrent": options.slots},
    }


def extended(options: argparse.Namespace, home: Home, environment: Mapping[str, str]) -> float:
    """Seconds from the command to the first new step."""
    paths, began = home.sweep(NAME), time.time()
    words = ["extend", NAME, "--trials", str(options.trials + RESUMED), "--quiet"]
    watched([*command(), *words], environment)
    return next(at for at in progress_times(paths) if at > began) - began


def progress_times(paths: SweepPaths) -> list[float]:
    """When steps were put on record."""
    return [fact.time for fact in read(paths.journal) if fact.event.kind == "progress"]


def tracked_per_s(home: Home, folder: Path) -> tuple[int, float]:
    """Facts on record, and how many a second reach an empty MLflow, whose tables are there already."""
    from mlflow import MlflowClient

    facts: list[Entry] = list(read(home.sweep(NAME).journal))
    copy = SweepPaths(folder / "copy" / NAME)
    copy.root.mkdir(parents=True)
    copy.journal.write_bytes(home.sweep(NAME).journal.read_bytes())
    uri = f"sqlite:///{folder}/copy.db"
    MlflowClient(uri).search_experiments(max_results=1)  # makes them
    began = time.monotonic()
    catch_up(copy, uri, "scale")
    return len(facts), len(facts) / (time.monotonic() - began)


def tune_control(options: argparse.Namespace, folder: str, environment: Mapping[str, str]) -> Ran:
    """The same work by plain Ray Tune, in a process of its own."""
    uri = f"sqlite:///{folder}/control.db"
    words = [sys.executable, __file__, "--control", uri]
    words += [
        f"--{key}={value}"
        for key, value in {
            "trials": options.control_trials,
            "slots": options.slots,
            "trial-s": options.trial_s,
            "cpus": options.cpus,
        }.items()
    ]
    out = Path(folder) / "control.out"
    wall_s, cpu_s, mib = watched(words, environment, out)
    steady_s = json.loads(out.read_text().strip().splitlines()[-1])["steady_s"]
    return Ran(wall_s, steady_s, cpu_s, mib, recorded(uri, "control"))


def watched(
    words: list[str], environment: Mapping[str, str], out: Path | None = None
) -> tuple[float, float, float]:
    """Run a command; its wall time, processor seconds and largest resident size in MiB, children not counted."""
    began = time.monotonic()
    with open(out or os.devnull, "wb") as file:
        process = subprocess.Popen(words, env=dict(environment), stdout=file, stderr=subprocess.PIPE)
    looked = psutil.Process(process.pid)
    seen = {"cpu_s": 0.0, "mib": 0.0}

    def look() -> None:
        while process.poll() is None:
            try:
                times, memory = looked.cpu_times(), looked.memory_info()
            except psutil.Error:
                return
            seen["cpu_s"] = times.user + times.system
            seen["mib"] = max(seen["mib"], memory.rss / 2**20)
            time.sleep(0.2)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    _, said = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}:\n{said.decode()[-2000:]}")
    return time.monotonic() - began, seen["cpu_s"], seen["mib"]


def recorded(uri: str, experiment: str) -> int:
    """Finished trials in MLflow, the sweep's own run not counted."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return 0
    token, count = None, 0
    while True:
        page = client.search_runs([found.experiment_id], max_results=1000, page_token=token)
        count += sum("return" in " ".join(run.data.metrics) for run in page)
        token = page.token
        if not token:
            return count


def command() -> list[str]:
    """The command line of this environment."""
    return [sys.executable, "-m", "flowsweep.platform.cli"]


def show(what: str, ran: Ran, ideal_s: float) -> None:
    """One side, beside the ideal."""
    steady = (
        ""
        if ran.steady_s is None
        else f", trials {ran.steady_s:.0f} s ({ran.steady_s / ideal_s - 1:+.1%} over the ideal {ideal_s:.0f}"
        + (")" if ran.middle is None else f"; {ran.middle:+.1%} once all workers are up)")
    )
    print(
        f"{what}: wall {ran.wall_s:.0f} s{steady}; driver {ran.driver_cpu_s:.0f} CPU-s, {ran.driver_mib:.0f} MiB; "
        f"{ran.trials} trials in MLflow",
        flush=True,
    )


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=8, help="trials at once")
    parser.add_argument("--trial-s", type=float, default=1.0, help="seconds a trial sleeps")
    parser.add_argument(
        "--cpus", type=float, default=0.2, help="of Ray's CPUs that a trial asks for; it only sleeps"
    )
    parser.add_argument("--control-trials", type=int, default=200, help="of the control; it is slow")
    parser.add_argument("--alone", action="store_true", help="without the control")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--control", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.control_trials < 1:
        parser.error("--control-trials must be 1 or more; to leave the control out, say --alone")
    return options


if __name__ == "__main__":
    main()
