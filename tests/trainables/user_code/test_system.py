"""Code named by its file: what it needs, and what is said where it cannot be used."""

import sys

import pytest
from flowsweep.trainables import base
from flowsweep.trainables.base import Lane, Stage, identity_key, load_system
from flowsweep.trainables.code_digest import code_differences, system_code
from flowsweep.trainables.config import parse
from flowsweep.trainables.errors import PackageMissing, UserError, UserErrors
from flowsweep.trainables.plain_tune import OwnStore
from flowsweep.trainables.request import TrialRequest
from flowsweep.trainables.source_ref import NOTHING
from flowsweep.trainables.user_code.code import label_of, names_code, read_code, short_name
from flowsweep.trainables.user_code.known import declare
from flowsweep.trainables.user_code.system import system_of
from flowsweep.trainables.walk import Walk

CONFIG = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    steps: int = 5
"""
TRAIN = "def train(config: Config, report):\n    report(1, loss=1)\n"
FUNCTION = CONFIG + TRAIN
STAGES = """
from flowsweep.trainables.base import Cost, Stage, StageConfig, System
class C(StageConfig):
    steps: int = 3
class S(Stage):
    name = "s"
    config_type = C
    metrics = {"loss": "a loss"}
    def start(self, lanes, source, device): ...
    finished = start
    def cost(self, configs, source): return Cost(0, 0)
SYSTEM = System("k", "K", "none", (S(),), lambda n: None, {"default": lambda: {"s": C()}})
"""
COST = "    def cost(self, configs, source): return Cost(0, 0)\n"
METRICS = '    metrics = {"loss": "a loss"}\n'


def test_a_function_is_a_system_of_one_stage_named_like_it(system):
    made = system()
    (stage,) = made.stages
    assert (made.name, stage.name, made.learns_from) == ("mine", "train", "nothing")
    assert made.title == "Walk towards one, noisily."
    assert made.metrics() == {"train/loss": "as reported in mine.py, line 27"}
    assert made.presets["default"]()["train"].rate == 0.1


def test_a_pydantic_model_keeps_its_rules(system):
    made = system(
        "from pydantic import BaseModel, Field\n"
        "class Config(BaseModel):\n    lr: float = Field(default=1.0, gt=0)\n    steps: int = 3\n"
        "def train(config: Config, report):\n    report(1, loss=config.lr)\n"
    )
    with pytest.raises(UserErrors, match=r"train.lr: .*greater than 0"):
        parse(made.stages[0].config_type, {"lr": -1.0}, "train")


def test_what_a_dataclass_refuses_the_plan_refuses(system):
    check = "    def __post_init__(self):\n        assert self.lr < 1, 'lr must be small'\n"
    made = system(CONFIG + check + TRAIN)
    with pytest.raises(UserErrors, match="lr must be small"):
        parse(made.stages[0].config_type, {"lr": 2.0}, "train")


def test_names():
    assert names_code("./train.py:train")
    assert names_code("/a/b.py")
    assert not names_code("fidec")
    assert label_of("../a/train.py:train") == "train.py:train"
    assert [short_name(name) for name in ("./a/net.py:train", "b.py:fit", "fidec")] == ["net", "fit", "fidec"]


@pytest.mark.parametrize(
    ("text", "attribute", "said"),
    [
        ("def f(:", "f", "mine.py, line 1: is not Python"),
        (CONFIG + "x = 1 / 0\n", "f", "mine.py, line 7: ZeroDivisionError: division by zero"),
        (FUNCTION, "trian", "holds nothing called `trian`.*Did you mean `train`"),
        (FUNCTION + "x = 3\n", "x", "is a int"),
        (FUNCTION.replace(": Config,", ","), "train", "says by no annotation"),
        (FUNCTION.replace("steps", "epochs"), "train", "does not say how long a run is"),
        (FUNCTION.replace("lr: float = 0.1", "lr: float"), "train", "no default for `lr`"),
        (FUNCTION.replace("loss=1", "**{}"), "train", "line 8: reports metrics whose names stand nowhere"),
        (FUNCTION.replace("report(1, loss=1)", "pass"), "train", "reports no metric by name"),
        (STAGES.replace(COST, ""), "SYSTEM", "line 11: class S .*cost"),
        (STAGES.replace(METRICS, ""), "SYSTEM", "line 5: stage S has no `metrics`"),
        (STAGES.replace('{"s": C()}', "{}"), "SYSTEM", "has no configuration for s"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(system, text, attribute, said):
    with pytest.raises(UserError, match=said):
        system(text, attribute)


def test_a_missing_package_is_told_apart_since_a_cluster_may_have_it(system):
    with pytest.raises(PackageMissing, match=r"line 1: its code needs tourch"):
        system("import tourch\n")


def test_a_file_without_a_name_offers_what_it_holds(written):
    with pytest.raises(UserError, match=r"Write `\./mine\.py:train`"):
        read_code("./mine.py", written(mine=FUNCTION))


def test_local_modules_go_along_wherever_they_are_imported(system, written):
    inner = FUNCTION.replace("    report(1", "    from lib.deep import four\n    report(1")
    text = inner + "import helper\nassert helper.two == 2\n"
    made = system(
        text, helper="import other\ntwo = other.one + 1\n", other="one = 1\n", lib__deep="four = 4\n"
    )
    assert made.code
    assert set(made.code.digests) == {"mine.py", "helper.py", "other.py", "lib/deep.py"}
    (written() / "lib" / "deep.py").unlink()  # what runs is the text that was read
    stage = made.stages[0]
    assert stage.start([Lane(stage.config_type(), 0)], None, "cpu").advance(5) == {"loss": [1.0]}


def test_code_that_is_loaded_later_has_its_own_helpers(system):
    text = FUNCTION + "import helper\nVALUE = helper.value\n"
    system(text, helper="value = 1\n")
    made = system(text, helper="value = 2\n")
    assert sys.modules[made.stages[0].function.__module__].VALUE == 2


def test_a_file_named_like_an_installed_module_is_refused(system):
    with pytest.raises(UserError, match="has the name of a module that is in use here"):
        system("import pydantic\n" + FUNCTION, pydantic="x = 1\n")


def test_only_changes_of_what_is_computed_count_as_changes(system):
    then = system_code(system(FUNCTION))
    assert code_differences(then, system_code(system("# a comment\n" + FUNCTION))) == []
    assert code_differences(then, system_code(system(FUNCTION.replace("loss=1", "loss=2")))) == [
        "code of mine.py"
    ]


def test_stages_of_a_file_have_its_code_in_their_identity(system):
    first, second = (system(STAGES + tail, "SYSTEM").stages[0] for tail in ("", "X = 1\n"))
    keys = {identity_key(one.identity(one.config_type(), {}, "", 0)) for one in (first, second)}
    assert len(keys) == 2
    assert isinstance(first, Stage)


def test_a_name_that_nobody_said_here_loads_nothing(tmp_path):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError, match=r"records name no code.*--code"):
        load_system(f"{tmp_path}/evil.py:train")
    assert not (tmp_path / "ran").exists()


def test_a_declared_name_stands_for_the_text_that_was_read(written):
    folder = written(mine=FUNCTION)
    declare("./declared.py:train", read_code("./mine.py:train", folder))
    (folder / "mine.py").write_text("broken(")
    assert load_system("./declared.py:train").name == "mine"
    assert system_of(read_code("./mine.py:train", written(mine=FUNCTION))).name == "mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1 / 0\n", r"plugged\.py, line 1: ZeroDivisionError"),
        ("import tourch\nSYSTEM = 3\n", "needs tourch"),
        ("SYSTEM = 3\n", "is a int and no `System`"),
        ("def f(:\n", r"plugged\.py, line 1"),
        (STAGES.replace(COST, ""), r"plugged\.py, line 11: class S .*cost"),
        (STAGES.replace(METRICS, ""), r"plugged\.py, line 5: stage S has no `metrics`"),
    ],
)
def test_a_registered_system_that_cannot_be_loaded_is_told_the_same_way(tmp_path, monkeypatch, text, said):
    info = tmp_path / "plugged-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[flowsweep.systems]\nplugged = plugged:SYSTEM\n")
    (tmp_path / "plugged.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "plugged", raising=False)
    base._registered.cache_clear()
    try:
        with pytest.raises(UserError, match=said):
            load_system("plugged")
    finally:
        sys.modules.pop("plugged", None)
        base._registered.cache_clear()


def test_a_walk_that_is_left_anywhere_reports_what_an_undisturbed_one_would_have(written, tmp_path):
    text = FUNCTION.replace("steps: int = 5", "steps: int = 60").replace(
        "    report(1, loss=1)\n",
        "    import random\n    x = 0.0\n    if saved := report.restored():\n        x = saved['x']\n"
        "    for step in range(0 if not saved else saved['step'], config.steps):\n"
        "        x += random.random()\n        report(step, loss=x)\n"
        "        if step % 7 == 6:\n            report.checkpoint(x=x, step=step + 1)\n",
    )
    declare("./walked.py:train", read_code("./mine.py:train", written(mine=text)))
    request = TrialRequest(
        trial="t", system="./walked.py:train", source=NOTHING, through="train", episodes=3, seeds=(0, 5),
        configs={"train": {"lr": 0.1, "steps": 60}}, evaluate_every_steps=10,
    )  # fmt: skip

    def reports(walk, most=None):
        found = []
        for event in walk:
            if event.kind in ("progress", "evaluated"):
                found.append((event.kind, event.step, dict(event.metrics)))
            if len(found) == most:
                walk.checkpoint()
                break
        return found

    def walk(folder):
        return Walk(request, OwnStore(tmp_path / "stages"), tmp_path / folder)

    undisturbed = reports(walk("one"))
    pieces: list = []
    while len(pieces) < len(undisturbed):
        pieces += reports(walk("two"), most=5)
    assert pieces == undisturbed
    assert undisturbed[-1][0] == "evaluated"
