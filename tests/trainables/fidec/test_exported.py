"""An exported FiDec policy acts as the one that was trained."""

from __future__ import annotations

import json

import torch
from flowsweep.trainables.artifacts import write_snapshot
from flowsweep.trainables.exported import load_policy


def test_a_loaded_policy_acts_as_the_trained_one(start, small, dataset, tmp_path):
    config, seeds = small("refine"), [3, 4]
    learner = start("refine", [(config, seed) for seed in seeds])
    learner.advance(20)
    for seed, outputs in zip(seeds, learner.outputs(), strict=True):
        write_snapshot(tmp_path / f"policy-seed-{seed}", outputs)
    configs = {"refine": config.model_dump(mode="json")}
    about = {"format": 1, "system": "fidec", "stage": "refine", "seeds": seeds, "configs": configs}
    (tmp_path / "export.json").write_text(json.dumps(about))
    policy, observations = load_policy(tmp_path), torch.randn(2, 5, dataset.info.observation_dim)

    def act(actor) -> torch.Tensor:
        return actor.act(observations, [torch.Generator().manual_seed(seed) for seed in seeds])

    assert act(policy).shape == (2, 5, dataset.info.action_dim)
    assert torch.equal(act(policy), act(learner.policy()))
