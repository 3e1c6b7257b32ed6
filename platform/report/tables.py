"""A sweep as Arrow tables, written as Parquet, for whoever wants to analyse it elsewhere.

``trials``    one row per trial: what it was, how it ended, what it scored and cost; one column per searched parameter;
              ``updates_per_s`` and ``cpu_s_per_update`` are of its last stage and of one seed; what it learnt from stands in
              a column named by its kind: ``dataset``, ``environment`` or ``problem``
``curves``    one row per trial, stage, step, seed and metric
``episodes``  one row per evaluation episode and value
``stages``    one row per shared stage output a trial computed or reused
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...trainables.events import Report, StageComputed, StageReused
from ...trainables.lossless_json import dumps
from ..journal.state import SweepState, TrialState
from ..record.pace import pace
from ..sweep.goals import Goals, is_feasible
from .leaderboard import leaderboard

if TYPE_CHECKING:
    import pyarrow as pa


def tables(record: SweepState) -> dict[str, pa.Table]:
    """The four tables by name."""
    import pyarrow as pa

    text, real, whole = pa.string(), pa.float64(), pa.int64()
    curve = {
        "trial": text,
        "kind": text,
        "stage": text,
        "step": whole,
        "seed": whole,
        "metric": text,
        "value": real,
    }
    episode = {
        "trial": text, "stage": text, "step": whole, "seed": whole, "episode": whole, "name": text, "value": real
    }  # fmt: skip
    stage = {
        "trial": text, "stage": text, "key": text, "seed": whole, "reused": pa.bool_(),
        "cpu_s": real, "saved_cpu_s": real, "wall_s": real, "bytes": whole,
    }  # fmt: skip
    return {
        "trials": _trials(record),
        "curves": _table(_curves(record), {**curve, "time": real}),
        "episodes": _table(_episodes(record), episode),
        "stages": _table(_stages(record), stage),
    }


def write_tables(record: SweepState) -> dict[str, Path]:
    """Write the tables into the sweep's ``results`` folder, each replaced at once; returns their paths."""
    import pyarrow.parquet as parquet

    folder = record.paths.results
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, table in tables(record).items():
        aside, path = folder / f".{name}.{os.getpid()}", folder / f"{name}.parquet"
        with open(aside, "wb") as file:
            parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        written[name] = path
    return written


def _trials(record: SweepState) -> pa.Table:
    import pyarrow as pa

    text, real, whole = pa.string(), pa.float64(), pa.int64()
    schema = {
        "trial": text, "number": whole, "phase": text, "confirms": text, "status": text, "reason": text,
        "failure": text, "retries": whole,
        "value": real, "low": real, "high": real, "interval": text, "rank": whole,
        "seeds": pa.list_(whole), "through": text, "step": whole, "steps": whole,
        "episodes_spent": whole, "cpu_s": real, "saved_cpu_s": real, "updates_per_s": real, "cpu_s_per_update": real,
        "started": real, "ended": real,
        "params": text, "configs": text,
    }  # fmt: skip
    scored = {row.trial: row for row in leaderboard(record)} if record.started else {}
    rows = []
    for trial in record.trials.values():
        row = scored.get(trial.trial)
        score = (
            {
                "low": row.score.low,
                "high": row.score.high,
                "interval": row.score.method,
                "rank": row.rank,
            }
            if row
            else {}
        )
        rows.append({**_facts_of(trial), **score})
    table = _table(rows, schema)
    if record.started:
        names = pa.array([record.source.name] * len(rows), text)
        table = table.append_column(record.source.kind, names)
    goals = Goals.recorded(record.spec) if record.started else None
    if goals and not goals.single:
        for name in goals.metrics:
            values = [scored[t].metrics.get(name) if t in scored else None for t in record.trials]
            table = table.append_column(name, pa.array(values, real))
        table = table.append_column(
            "feasible",
            pa.array(
                [is_feasible(t.excess) if t.excess else None for t in record.trials.values()], pa.bool_()
            ),
        )
    for name in sorted({name for trial in record.trials.values() for name in trial.params}):
        values = [trial.params.get(name) for trial in record.trials.values()]
        table = table.append_column(name, _column(values))
    return table


def _facts_of(trial: TrialState) -> dict[str, Any]:
    step, steps = trial.progress
    speed = pace(trial, trial.through)
    return {
        "trial": trial.trial,
        "number": trial.number,
        "phase": trial.phase,
        "confirms": trial.confirms,
        "status": str(trial.status),
        "reason": trial.reason,
        "failure": trial.failure,
        "retries": trial.retries,
        "value": trial.value,
        "seeds": list(trial.seeds),
        "through": trial.through,
        "step": step,
        "steps": steps,
        "episodes_spent": trial.episodes_spent,
        "cpu_s": trial.cpu_s,
        "saved_cpu_s": trial.saved_cpu_s,
        "updates_per_s": speed.updates_per_s,
        "cpu_s_per_update": speed.cpu_s_per_update,
        "started": trial.started,
        "ended": trial.ended,
        "params": dumps(trial.params),
        "configs": dumps(trial.configs),
    }


def _curves(record: SweepState) -> list[dict[str, Any]]:
    return [
        {
            "trial": trial.trial,
            "kind": report.kind,
            "stage": report.stage,
            "step": report.step,
            "seed": seed,
            "metric": metric,
            "value": value,
            "time": entry.time,
        }
        for trial in record.trials.values()
        for entry in trial.reports
        if isinstance(report := entry.event, Report)
        for metric, lanes in report.metrics.items()
        for seed, value in zip(report.seeds, lanes, strict=True)
    ]


def _episodes(record: SweepState) -> list[dict[str, Any]]:
    return [
        {
            "trial": trial.trial,
            "stage": scored.stage,
            "step": scored.step,
            "seed": seed,
            "episode": number,
            "name": name,
            "value": float(value),
        }
        for trial in record.trials.values()
        for scored in trial.evaluations
        for seed, lane in zip(scored.seeds, scored.episodes, strict=False)
        for name, values in lane.items()
        for number, value in enumerate(values)
    ]


def _stages(record: SweepState) -> list[dict[str, Any]]:
    return [
        {
            "trial": trial.trial,
            "stage": use.stage,
            "key": use.key,
            "seed": use.seed,
            "reused": isinstance(use, StageReused),
            "cpu_s": use.cpu_s if isinstance(use, StageComputed) else 0.0,
            "saved_cpu_s": use.saved_cpu_s if isinstance(use, StageReused) else 0.0,
            "wall_s": use.wall_s if isinstance(use, StageComputed) else 0.0,
            "bytes": use.bytes if isinstance(use, StageComputed) else 0,
        }
        for trial in record.trials.values()
        for use in trial.stages
    ]


def _table(rows: list[dict[str, Any]], schema: Mapping[str, pa.DataType]) -> pa.Table:
    import pyarrow as pa

    columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in schema.items()}
    return pa.table(columns)


def _column(values: list[Any]) -> pa.Array:
    """Numbers as numbers; a parameter that is sometimes a word, or anything else, as JSON text."""
    import pyarrow as pa

    present = [value for value in values if value is not None]
    if all(type(value) in (int, float) for value in present):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if all(type(value) is str for value in present):
        return pa.array(values, pa.string())
    if all(type(value) is bool for value in present):
        return pa.array(values, pa.bool_())
    return pa.array([None if value is None else dumps(value) for value in values], pa.string())
