"""Ranges searched under conditions are looked for where the condition holds."""

from __future__ import annotations

from flowsweep.platform.record.findings import idle_ranges
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.platform.sweep.spec import SweepSpec
from flowsweep.trainables.config import parse


def spec(space: dict) -> SweepSpec:
    return parse(
        SweepSpec,
        {
            "name": "s",
            "system": "rdps",
            "problem": "mixture-cs",
            "space": space,
            "objective": {"metric": "posterior/psnr", "direction": "maximize"},
            "search": {"trials": 2},
            "seeds": {"tune": [0], "test": [1]},
        },
    )


KINDS = {"values": ["squared", "huber", "imq", "cauchy", "welsch", "tukey"]}
SAMPLERS = {"values": ["dps_norm", "dps_annealed", "pigdm", "tmpd", "daps", "reddiff", "huber_cg"]}


def test_a_conditional_range_that_is_read_under_its_condition_is_not_in_vain():
    space = {
        "posterior.sampler": SAMPLERS,
        "posterior.kind": KINDS,
        "posterior.scale": {"values": ["annealed", "mad"]},
        "posterior.levels": {"values": [20, 40, 80, 160]},
        "posterior.langevin_step": {"low": 0.1, "high": 1.0, "when": {"posterior.sampler": "daps"}},
    }
    assert idle_ranges(resolve(spec(space))) == []


def test_a_conditional_range_that_is_not_is():
    space = {
        "posterior.sampler": SAMPLERS,
        "posterior.kind": KINDS,
        "posterior.guidance": {"low": 0.1, "high": 1.0, "when": {"posterior.sampler": "daps"}},
    }
    assert idle_ranges(resolve(spec(space))) == [
        "posterior.guidance is searched in vain: the sampler is daps"
    ]
