"""What is an extra is said to be missing by what needs it, with the command that adds it."""

import sys

import pytest
from flowsweep.trainables.data.dataset import EvaluationSpec
from flowsweep.trainables.data.ogbench_tasks import single_task_environment
from flowsweep.trainables.data.simulators import ogbench_package, ogbench_way_in
from flowsweep.trainables.envs.build import make_environment
from flowsweep.trainables.errors import PackageMissing

SPEC = EvaluationSpec(
    library="ogbench", id="cube-single-play-singletask-v0", action_low=(-1,) * 5, action_high=(1,) * 5,
    max_episode_steps=9,
)  # fmt: skip


@pytest.mark.parametrize(
    "needs",
    [
        ogbench_package,
        lambda: make_environment(SPEC),
        lambda: single_task_environment("cube-single-play-v0", 1),
    ],
)
def test_ogbench_that_is_not_installed_is_said_with_the_command_that_adds_it(monkeypatch, needs):
    for name in [name for name in sys.modules if name.split(".")[0] == "ogbench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ogbench", None)
    with pytest.raises(PackageMissing, match=r"OGBench is needed.*pip install 'flowsweep\[ogbench\]'"):
        needs()


@pytest.mark.parametrize(
    ("running", "way"),
    [
        ((3, 11), "Add it: pip"),
        ((3, 12), "Add it: pip"),
        ((3, 13), "no wheels for Python 3.13: make an environment with"),
    ],
)
def test_where_it_has_no_wheels_that_is_said(running, way):
    assert way in ogbench_way_in(running)
