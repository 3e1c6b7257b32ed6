"""What a proposal costs when a study has grown: milliseconds per proposal, by sampler, beside plain Optuna.

    python benchmarks/search_proposals.py [--trials 100 1000 5000] [--samplers tpe gp ...] [--json FILE]

A study of so many finished trials lies in a SQLite file on disk, four trials run, and then one trial after another is
proposed, reports once and ends. `ms` is process time of all threads per proposal, `waited` the wall time until the
proposal is there, both medians; `written` the process time to write one trial's report and
ending to the file, which a thread does.
Plain Optuna does the same with `Study.ask`, the same sampler and file, its own cached storage and nothing else.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import optuna
from flowsweep.platform.search.bridge import StudySearch
from flowsweep.platform.search.distributions import distribution, suggest
from flowsweep.platform.search.samplers import SAMPLERS, make_sampler
from flowsweep.platform.sweep.search_spec import Search
from flowsweep.search_spaces.parameters import Choice, Integer, Real
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState

CONTINUOUS = {
    "s.rate": Real(low=1e-3, high=1.0, log=True),
    "s.scale": Real(low=0.0, high=2.0),
    "s.depth": Integer(low=1, high=64),
    "s.kind": Choice(values=("a", "b", "c")),
}
FINITE = {
    "s.depth": Integer(low=1, high=64),
    "s.width": Integer(low=1, high=64),
    "s.kind": Choice(values=("a", "b")),
}
AT_ONCE = 4


def value(params: dict) -> float:
    return -abs(params.get("s.scale", 0.3) - 0.3) - abs(params["s.depth"] - 20) / 64


def filled(file: Path, count: int, space: dict) -> Path:
    """A study of finished trials in a new file."""
    draw = random.Random(0)
    kinds = {key: distribution(parameter) for key, parameter in space.items()}
    points: set[tuple] = set()
    while len(points) < count:
        point = {
            "s.rate": 10 ** draw.uniform(-3, 0),
            "s.scale": draw.uniform(0, 2),
            "s.depth": draw.randint(1, 64),
            "s.width": draw.randint(1, 64),
            "s.kind": draw.choice("abc" if "s.scale" in space else "ab"),
        }
        points.add(tuple((key, point[key]) for key in space))
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
    now = datetime.now()
    trials, params, values, names = [], [], [], []
    for number, point in enumerate(sorted(points)):
        own = {"trial_id": number + 1}
        trials.append(
            {**own, "number": number, "study_id": study, "state": TrialState.COMPLETE, "datetime_start": now,
             "datetime_complete": now}
        )  # fmt: skip
        names.append({**own, "key": "trial", "value_json": f'"t{number:04d}"'})
        kind = models.TrialValueModel.TrialValueType.FINITE
        values.append({**own, "objective": 0, "value": value(dict(point)), "value_type": kind})
        for key, given in point:
            internal = kinds[key].to_internal_repr(given)
            form = distribution_to_json(kinds[key])
            params.append({**own, "param_name": key, "param_value": internal, "distribution_json": form})
    with storage.engine.begin() as connection:  # in one go: Optuna's own way takes 25 CPU-ms per trial
        for table, rows in (
            (models.TrialModel, trials), (models.TrialParamModel, params),
            (models.TrialValueModel, values), (models.TrialUserAttributeModel, names),
        ):  # fmt: skip
            connection.execute(table.__table__.insert(), rows)
    return file


def measured(propose: Callable, end: Callable, rounds: int) -> dict[str, float]:
    """Medians over proposals while others run."""
    running, cpu_s, wall_s = [propose() for _ in range(AT_ONCE)], [], []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        made = propose()
        cpu_s.append(time.process_time() - cpu)
        wall_s.append(time.perf_counter() - wall)
        running.append(made)
        end(running.pop(0))
    return {"ms": 1e3 * statistics.median(cpu_s), "waited_ms": 1e3 * statistics.median(wall_s)}


def ours(url: str, sampler: str, space: dict, rounds: int, trials: int) -> dict[str, float]:
    options = Search(sampler=sampler, trials=trials + rounds + AT_ONCE)
    search = StudySearch("s", url, options, space, "maximize", optuna.pruners.NopPruner())

    def end(proposal) -> None:
        search.report(proposal.trial, 1, 0.5)
        search.tell(proposal.trial, "finished", value(dict(proposal.params)), "all steps done")
        search.settle()

    found = measured(search.propose, end, rounds)
    written = []
    for _ in range(3):
        proposal = search.propose()
        search.settle()
        before = time.process_time()
        end(proposal)
        written.append(time.process_time() - before)
    search.close()
    return found | {"written_ms": 1e3 * statistics.median(written)}


def plain(url: str, sampler: str, space: dict, rounds: int, trials: int) -> dict[str, float]:
    kinds = {key: distribution(parameter) for key, parameter in space.items()}
    made = make_sampler(Search(sampler=sampler, trials=trials + rounds), kinds, trials)
    study = optuna.load_study(study_name="s", storage=url, sampler=made)
    study.stop = lambda: None

    def propose():
        trial = study.ask()
        suggest(trial, space)
        return trial

    def end(trial) -> None:
        trial.report(0.5, 1)
        study.tell(trial, value(trial.params))

    return measured(propose, end, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    import torch

    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder), rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


def compare(options: argparse.Namespace, folder: Path, rows: list) -> None:
    """Measure every sampler at every size and print a line each."""
    print(f"{'sampler':8} {'trials':>6} {'ms':>9} {'waited':>9} {'written':>9} {'plain ms':>9} {'waited':>9}")
    made: dict[tuple[bool, int], Path] = {}
    for sampler in options.samplers:
        space = FINITE if sampler == "grid" else CONTINUOUS
        for trials in options.trials:
            if sampler == "gp" and trials > 1000 and options.samplers != ["gp"]:
                continue  # minutes per proposal; ask for it by name
            rounds = options.rounds if sampler != "gp" else max(3, options.rounds // 5)
            kind = (space is FINITE, trials)
            if kind not in made:
                made[kind] = filled(folder / f"{trials}-{len(made)}.db", trials, space)
            sides = {}
            for name, side in (("ours", ours), ("plain", plain)):
                copy = shutil.copy(made[kind], folder / f"{sampler}-{trials}-{name}.db")
                sides[name] = side(f"sqlite:///{copy}", sampler, space, rounds, trials)
            own, theirs = sides["ours"], sides["plain"]
            rows.append({"sampler": sampler, "trials": trials, **sides})
            print(
                f"{sampler:8} {trials:6} {own['ms']:9.2f} {own['waited_ms']:9.2f} {own['written_ms']:9.2f} "
                f"{theirs['ms']:9.2f} {theirs['waited_ms']:9.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
