"""What a user who mistypes one of FiDec's settings reads, and what the plan of one that cannot work says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flowsweep.platform.sweep.yaml_file import dump_yaml


@pytest.fixture
def plan(umaze_dataset, run, tmp_path: Path):
    """Plan a FiDec sweep with some settings of its stages; exit code, output, errors."""

    def plan(stages: dict, *options: str, **changes) -> tuple[int, str, str]:
        path = tmp_path / "sweep.yaml"
        sweep = {
            "name": "typo", "system": "fidec", "dataset": umaze_dataset, "stages": stages,
            "objective": {"metric": "refine/success_rate"}, "search": {"trials": 4},
        }  # fmt: skip
        path.write_text(dump_yaml({**sweep, **changes}))
        return run("plan", str(path), *options)

    return plan


def test_every_mistake_is_named_at_once_with_key_value_and_rule(plan):
    code, out, err = plan({"pools": {"base_actions": 0, "fisher_time": 1.2}, "refine": {"kl_radius": 0}})
    assert (code, out) == (2, "")
    for part in (
        "stages.pools.base_actions: should be greater than or equal to 1 (got 0)",
        "stages.pools.fisher_time: should be less than 1 (got 1.2)",
        "stages.refine.kl_radius: should be greater than 0 (got 0)",
    ):
        assert part in err
    assert "Traceback" not in err


def test_settings_that_exclude_each_other_are_told_with_the_way_out(plan):
    code, _, err = plan({"pools": {"fisher_time": 0.05}})
    assert code == 2
    assert "fisher_time_width 0.05 must be below fisher_time 0.05" in err
    assert "lower the width or raise the time" in err


def test_a_bound_that_cannot_bind_and_a_range_nothing_reads_are_told_by_the_plan(plan):
    space = {"refine.kl_radius": {"low": 0.01, "high": 0.1}, "refine.alpha_init": {"low": 1.0, "high": 9.0}}
    stages = {
        "refine": {"residual_form": "tanh", "residual_scale": 0.2, "constraint": "per_state_projection"}
    }
    code, out, _ = plan(stages, space=space)
    assert code == 0
    said = " ".join(out.split())
    assert "warning refine: residual_scale 0.2 with the tanh form is below sqrt(kl_radius) = 0.316" in said
    assert "warning refine.alpha_init is searched in vain" in said
    code, out, _ = plan(stages, "--json", space=space)
    assert len(json.loads(out)["warnings"]) == 2
