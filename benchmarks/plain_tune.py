"""What `platform_scale.py` compares with: plain Ray Tune with its own search and tracking, for trials that only sleep."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time


def plain_tune(options: argparse.Namespace, steps: int) -> float:
    """Tune, its OptunaSearch, its MLflow callback.

    Args:
        options: ``trials``, ``slots``, ``trial_s``, ``cpus``, and as ``control`` the address of MLflow.
        steps: of each trial.

    Returns:
        The seconds its trials took.
    """
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    ray.init(
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=256 * 2**20,
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as storage:
        tuner = tune.Tuner(
            tune.with_resources(napper(steps, options.trial_s / steps), {"cpu": options.cpus}),
            param_space={"rate": tune.loguniform(0.01, 1.0), "offset": tune.uniform(-4.0, 4.0)},
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(seed=0),
                metric="return",
                mode="max",
                num_samples=options.trials,
                max_concurrent_trials=options.slots,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=storage,
                verbose=0,
                callbacks=[MLflowLoggerCallback(tracking_uri=options.control, experiment_name="control")],
            ),
        )
        tuner.fit()
    return time.monotonic() - began


def napper(steps: int, pause_s: float) -> type:
    """A trainable that sleeps so many times and reports each time."""
    from ray import tune

    class Napper(tune.Trainable):
        def setup(self, config: dict) -> None:
            self.place = config

        def reset_config(self, new_config: dict) -> bool:
            self.place = new_config
            return True

        def step(self) -> dict:
            time.sleep(pause_s)
            value = 1 - abs(self.place["offset"] - 2) - abs(self.place["rate"] - 0.1)
            return {"return": value, "done": self.iteration + 1 >= steps}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            pass

        def load_checkpoint(self, checkpoint: object) -> None:
            pass

    return Napper
