"""Does refinement improve on the imitated policy? Success before and after, per seed, on a dataset made here.

    flowsweep data make pointmaze-umaze-detour --steps 50000
    python benchmarks/fidec_refinement.py flowsweep/pointmaze-umaze-detour-50k-v0 --seeds 100,101,102 \\
        --set pretrain.steps=3000 --set refine.steps=4000 --set refine.kl_radius=0.1

Every seed trains its own flow, pools and refinement; base and refined policy then meet the same episodes. With
``--imitation-only`` the flow alone is trained and scored.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import yaml
from flowsweep.trainables.base import Lane, Snapshot, Stage, StageConfig
from flowsweep.trainables.config import parse
from flowsweep.trainables.data.dataset import FlatDataset
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.fidec import SYSTEM
from scipy import stats

EVALUATION_SEED = 1000  # plus the training seed


def configurations(preset: str, changes: list[str]) -> dict[str, StageConfig]:
    """The preset's configurations with ``stage.field=value`` changes, values in YAML notation."""
    values = {name: config.model_dump(mode="json") for name, config in SYSTEM.presets[preset]().items()}
    for change in changes:
        key, _, value = change.partition("=")
        stage, _, field = key.partition(".")
        values.setdefault(stage, {})[field] = yaml.safe_load(value)
    return {name: parse(SYSTEM.stage(name).config_type, given, name) for name, given in values.items()}


def one_seed(
    configs: Mapping[str, StageConfig],
    dataset: FlatDataset,
    seed: int,
    episodes: int,
    stages: tuple[Stage, ...],
) -> dict[str, Any]:
    """Success and steps per episode of base and refined policy, and CPU-seconds of the training."""
    upstream: dict[str, Snapshot] = {}
    row: dict[str, Any] = {"seed": seed, "train_cpu_s": 0.0}
    for stage in stages:
        started = time.process_time()
        learner = stage.start([Lane(configs[stage.name], seed, dict(upstream))], dataset, "cpu")
        metrics = learner.advance(configs[stage.name].steps)
        row["train_cpu_s"] += time.process_time() - started
        upstream[stage.name] = learner.outputs()[0]
        if stage.name != "pools":
            scored = learner.evaluate([EVALUATION_SEED + seed], episodes)[0].metrics
            row[stage.name], row[f"{stage.name}_length"] = scored["success_rate"], scored["episode_length"]
        if stage.name == "refine":
            row["kl_nats"] = metrics["kl_nats"][0]
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over seeds and the paired difference with its 95 % half-width (t over seeds)."""
    base, refined = (np.array([row[name] for row in rows]) for name in ("pretrain", "refine"))
    gain = refined - base
    half = (
        stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
        if len(gain) > 1
        else float("nan")
    )
    return {"pretrain": base.mean(), "refine": refined.mean(), "gain": gain.mean(), "half_width": float(half)}


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset")
    parser.add_argument("--preset", default="default", choices=sorted(SYSTEM.presets))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.FIELD=VALUE")
    parser.add_argument("--imitation-only", action="store_true", help="train and score the flow alone")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        configs = configurations(arguments.preset, arguments.set)
        dataset = SYSTEM.open_source(arguments.dataset)
    except UserError as error:
        parser.error(str(error))
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    stages = SYSTEM.stages[:1] if arguments.imitation_only else SYSTEM.stages
    rows = [one_seed(configs, dataset, seed, arguments.episodes, stages) for seed in seeds]  # type: ignore[arg-type]
    total = None if arguments.imitation_only else summary(rows)
    if arguments.json:
        print(json.dumps({"rows": rows, "summary": total}, indent=2))
        return
    show(rows, total)


def show(rows: list[dict[str, Any]], total: dict[str, float] | None) -> None:
    """One line per seed, and what refinement gained where there was one."""
    scored = [name for name in ("pretrain", "refine") if name in rows[0]]
    print(
        f"{'seed':>6}"
        + "".join(f"{name:>10}{'steps':>7}" for name in scored)
        + f"{'kl nats':>9}{'train CPU s':>13}"
    )
    for row in rows:
        print(
            f"{row['seed']:>6}"
            + "".join(f"{row[name]:>10.3f}{row[f'{name}_length']:>7.0f}" for name in scored)
            + f"{row.get('kl_nats', float('nan')):>9.2f}{row['train_cpu_s']:>13.0f}"
        )
    if total:
        print(f"mean {total['pretrain']:.3f} before, {total['refine']:.3f} after")
        print(
            f"gain {total['gain']:+.3f} +- {total['half_width']:.3f} (95 %, paired t over {len(rows)} seeds)"
        )


if __name__ == "__main__":
    main()
