"""Every learner of every shipped system keeps what a learner promises; learners that do not are found out."""

from __future__ import annotations

import textwrap

import pytest
from flowsweep import testing
from flowsweep.trainables.base import load_system

NETS = {"hidden": (8, 8), "batch_size": 16}
FLOW = {"pretrain": {**NETS, "flow_steps": 2}}
SHIPPED = {
    "rehearsal": {},
    "fidec": {**FLOW, "pools": {"base_actions": 4, "fisher_samples": 2}, "refine": NETS},
    "fidec-joint": {"joint": {**NETS, "fisher_samples": 2}},
    "fql": {**FLOW, "fql": NETS},
    "ifql": {**FLOW, "ifql": {**NETS, "action_samples": 2}},
    "rebrac": {"rebrac": NETS},
}


def of(name: str):
    system = load_system(name)
    return system, {stage.name: SHIPPED[name].get(stage.name, {}) for stage in system.stages}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_stage_of_a_shipped_system_keeps_the_contract(name, request):
    system, settings = of(name)
    # The synthetic dataset names no environment, so that evaluations are left out.
    source = None if name == "rehearsal" else request.getfixturevalue("dataset")
    given = "rehearsal/points" if source is None else source
    for check in testing.checks(system, given, settings, steps=4, episodes=2 if source is None else 0):
        check()


@pytest.mark.slow
def test_posterior_sampling_keeps_the_contract():
    for check in testing.checks("rdps", "mixture-cs", steps=4):
        check()


WALKER = """
    import torch
    from flowsweep.trainables.base import Cost, Learner, Score, Snapshot, Stage, StageConfig, System

    class Config(StageConfig):
        steps: int = 6
        rate: float = 0.5

    class Walker(Learner):
        def __init__(self, lanes):
            self.step, self.lanes = 0, lanes
            self.x = torch.zeros(len(lanes))
            self.pace = torch.ones(len(lanes))
            self.streams = [torch.Generator().manual_seed(lane.seed) for lane in lanes]

        def advance(self, steps):
            for _ in range(steps):
                self.step += 1
                noise = torch.cat([torch.randn(1, generator=stream) for stream in self.streams])
                self.pace = 0.9 * self.pace
                self.x = self.x + self.lanes[0].config.rate * self.pace * (1 + noise)
            return {"loss": self.x.tolist()}

        def evaluate(self, seeds, episodes):
            return [Score({"return": x}) for x in self.x.tolist()]

        def state(self):
            streams = {f"s{i}": s.get_state() for i, s in enumerate(self.streams)}
            return Snapshot({"x": self.x.clone(), "pace": self.pace.clone(), **streams}, {"step": self.step})

        def load_state(self, snapshot):
            self.x, self.pace = snapshot.tensors["x"].clone(), snapshot.tensors["pace"].clone()
            self.step = snapshot.meta["step"]
            for i, stream in enumerate(self.streams):
                stream.set_state(snapshot.tensors[f"s{i}"])

        def outputs(self):
            return [Snapshot({"x": x.clone()}) for x in self.x]

    class Finished(Walker):
        def __init__(self, lanes, outputs):
            super().__init__(lanes)
            self.x = torch.stack([output.tensors["x"] for output in outputs])

    class Walk(Stage):
        name = "walk"
        config_type = Config
        metrics = {"loss": "x", "return": "x"}
        def start(self, lanes, source, device):
            return Walker(lanes)
        def finished(self, lanes, outputs, source, device):
            return Finished(lanes, outputs)
        def cost(self, configs, source):
            return Cost(0.0, 0)

    SYSTEM = System("walk", "Walk", "none", (Walk(),), lambda name: None, {"default": lambda: {"walk": Config()}})
"""
BREAKS = {
    "nothing": ("", "", None),
    "an optimiser left out of the state": (
        'self.x, self.pace = snapshot.tensors["x"].clone(), snapshot.tensors["pace"].clone()',
        'self.x = snapshot.tensors["x"].clone()',
        "resumes_bit_equal",
    ),
    "a random stream left out": (
        'stream.set_state(snapshot.tensors[f"s{i}"])', "pass", "resumes_bit_equal",
    ),
    "a state by reference": (
        "self.x = self.x + self.lanes[0].config.rate * self.pace * (1 + noise)",
        "self.x += self.lanes[0].config.rate * self.pace * (1 + noise)",
        None,
    ),
    "a state that moves": ('{"x": self.x.clone(), "pace"', '{"x": self.x, "pace"', None),
    "an undeclared metric": ('return {"loss": self.x', 'return {"los": self.x', "declares_its_metrics"),
    "lanes that know each other": (
        "for stream in self.streams])", "for stream in self.streams]).sum()", "lanes_equal_runs_alone",
    ),
    "one stream for all": (
        "torch.Generator().manual_seed(lane.seed) for lane in lanes",
        "torch.default_generator for lane in lanes",
        "resumes_bit_equal",
    ),
    "an evaluation that draws": (
        'return [Score({"return": x})', 'self.x += 1\n            return [Score({"return": x})',
        "evaluates_without_a_trace",
    ),
    "an output that is not enough": (
        'self.x = torch.stack([output.tensors["x"] for output in outputs])', "pass", "is_rebuilt_from_its_outputs",
    ),
    "an identity without a setting": (
        "        def cost(self",
        "        def identity(self, config, keys, fingerprint, seed):\n"
        '            return {"seed": seed, "data": fingerprint}\n'
        "        def cost(self",
        "has_a_complete_identity",
    ),
    "an exception": ('self.step = snapshot.meta["step"]', 'self.step = snapshot.meta["steps"]', "resumes_bit_equal"),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAKS)
def test_a_learner_that_breaks_a_promise_is_found_out(what, tmp_path, monkeypatch):
    old, new, promise = BREAKS[what]
    text = textwrap.dedent(WALKER.replace(old, new) if old else WALKER)
    assert not old or text != textwrap.dedent(WALKER)
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    broken = {}
    for check in testing.checks("./mine.py:SYSTEM"):
        try:
            check()
        except AssertionError as error:
            broken[check.promise.__name__] = str(error)
    if promise is None:
        assert not broken
    else:
        assert promise in broken
        assert "mine.py, line" in broken[promise]
