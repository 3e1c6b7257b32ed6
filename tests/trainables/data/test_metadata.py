"""Whatever stands in a dataset's metadata: one line with the place and the rule, never a traceback."""

import json
import random

import pytest
from flowsweep.trainables.data.catalogue import local_summaries
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.data.metadata import read_metadata
from flowsweep.trainables.data.names import minari_data_path
from flowsweep.trainables.errors import UserError


@pytest.fixture
def amend(write, episode):
    """Write a dataset and put other values into its metadata; the values as they were."""
    name = write("toy-v0", [episode(3), episode(2)])
    file = minari_data_path(name) / "metadata.json"
    before = json.loads(file.read_text())

    def amend(changes: dict | str) -> dict:
        text = changes if isinstance(changes, str) else json.dumps({**before, **changes})
        file.write_text(text)
        return before

    return amend


def spec(**changes):
    named = {"id": "Pendulum-v1", "entry_point": "x:y", "max_episode_steps": 200, "kwargs": {}}
    return json.dumps({**named, **changes})


NESTED = "[" * 2000 + "]" * 2000
SPACE = {"type": "Box", "dtype": "float32", "shape": [1], "low": [-1.0], "high": [1.0]}
WRONG = [
    ({"env_spec": "no JSON"}, "`env_spec`", "is not valid JSON"),
    ({"env_spec": ["a", "list"]}, "`env_spec`", "must be a text that holds JSON, not \\['a', 'list'\\]"),
    ({"env_spec": "[1]"}, "`env_spec`", "must be a JSON object, not \\[1\\]"),
    ({"env_spec": "{}"}, "`env_spec.id`", "must be a text of 1 to 200 printable characters, not null"),
    ({"env_spec": spec(id=7)}, "`env_spec.id`", "must be a text .*, not 7"),
    ({"env_spec": spec(id="a\n[/bold]")}, "`env_spec.id`", "printable"),
    ({"env_spec": spec(id="x" * 5000)}, "`env_spec.id`", "must be a text of 1 to 200"),
    ({"env_spec": spec(max_episode_steps="many")}, "`env_spec.max_episode_steps`", "whole number above 0, not 'many'"),
    ({"env_spec": spec(max_episode_steps=0)}, "`env_spec.max_episode_steps`", "whole number above 0, not 0"),
    ({"env_spec": spec(max_episode_steps=True)}, "`env_spec.max_episode_steps`", "whole number above 0, not True"),
    ({"env_spec": spec(max_episode_steps=2**63)}, "`env_spec.max_episode_steps`", "whole number above 0"),
    ({"env_spec": spec(kwargs=[1])}, "`env_spec.kwargs`", "must be a JSON object"),
    ({"env_spec": spec(additional_wrappers=4)}, "`env_spec.additional_wrappers`", "must be a list, not 4"),
    ({"env_spec": NESTED}, "`env_spec`", "is not valid JSON|must be a JSON object"),
    ({"env_spec": '{"id": %s}' % ("9" * 5000)}, "`env_spec`", "is not valid JSON"),
    ({"eval_env_spec": "{"}, "`eval_env_spec`", "is not valid JSON"),
    ({"ref_min_score": "abc"}, "`ref_min_score`", "must be a finite number, not 'abc'"),
    ({"ref_max_score": float("nan")}, "`ref_max_score`", "must be a finite number"),
    ({"ref_max_score": 10**400}, "`ref_max_score`", "must be a finite number"),
    ({"ref_max_score": [1]}, "`ref_max_score`", "must be a finite number"),
    ({"total_steps": "5"}, "`total_steps`", "whole number, 0 or above, not '5'"),
    ({"total_steps": -5}, "`total_steps`", "whole number, 0 or above"),
    ({"total_episodes": None}, "`total_episodes`", "whole number, 0 or above, not null"),
    ({"total_episodes": 1e400}, "`total_episodes`", "whole number, 0 or above"),
    ({"data_format": "pickle"}, "`data_format`", "must be one of hdf5, arrow, parquet, not 'pickle'"),
    ({"data_format": {}}, "`data_format`", "must be one of"),
    ({"observation_space": "{"}, "`observation_space`", "is not valid JSON"),
    ({"observation_space": {"type": "Box"}}, "`observation_space`", "must be a text that holds JSON"),
    ({"observation_space": '{"type": "os.system"}'}, "`observation_space.type`", "kind of space that Minari stores"),
    ({"action_space": json.dumps({**SPACE, "shape": [10**9, 10**9]})}, "`action_space.shape`", "sizes of axes"),
    ({"action_space": json.dumps({**SPACE, "shape": [10**4, 10**4]})}, "`action_space.shape`", "at most 10,000,000"),
    ({"action_space": json.dumps({**SPACE, "shape": "2"})}, "`action_space.shape`", "sizes of axes"),
    ({"action_space": json.dumps({**SPACE, "low": ["a"]})}, "", "its metadata cannot be used"),
    ({"action_space": json.dumps({**SPACE, "dtype": "object"})}, "", "."),
    ({"observation_space": '{"type": "Dict", "subspaces": [1]}'}, "`observation_space.subspaces`", "must hold the parts"),
    (
        {"observation_space": '{"type": "Dict", "subspaces": {"a": ' * 30 + "1" + "}}" * 30},
        "`observation_space.a", "nested deeper than 20",
    ),
    ({"flowsweep": "pointmaze"}, "`flowsweep`", "must be a JSON object"),
    ({"flowsweep": {"family": "ogbench"}}, "`flowsweep.ogbench_dataset`", "must be the name of an OGBench dataset"),
    (
        {"flowsweep": {"family": "ogbench", "ogbench_dataset": "cube-single-play-v0", "simulator_state": ["../x"]}},
        "`flowsweep.simulator_state`", "must be a list of qpos",
    ),
    ({"flowsweep": {"family": "pointmaze"}}, "", "its observations lack observation, desired_goal"),
    ({"flowsweep": {"family": ["pointmaze"]}, "env_spec": 3}, "`env_spec`", "must be a text"),
    ("", "", "is not valid JSON"),
    ("[1, 2]", "", "must be a JSON object"),
    (NESTED, "", "is not valid JSON|must be a JSON object"),
    ('{"total_steps": ' + "9" * 5000 + "}", "", "is not valid JSON"),
    ("\x00", "", "is not valid JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "place", "rule"), WRONG)
def test_wrong_metadata_is_told_in_one_line_with_its_place(amend, changes, place, rule):
    amend(changes)
    with pytest.raises(UserError, match=rule) as told:
        open_dataset("toy-v0")
    assert place in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 800
    local_summaries()


def test_metadata_of_many_mebibytes_is_not_read(amend):
    amend({"description": "x" * 2**23})
    with pytest.raises(UserError, match=r"its metadata\.json is larger than 4 MiB"):
        open_dataset("toy-v0")


def test_bytes_that_are_no_text_are_told(amend):
    amend({})
    (minari_data_path("toy-v0") / "metadata.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match="cannot be read"):
        open_dataset("toy-v0")


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_environment_that_is_not_named_is_none(amend, nothing):
    amend({"env_spec": nothing, "eval_env_spec": nothing})
    info = open_dataset("toy-v0").info
    assert (info.evaluation, info.unscored) == (None, "it names no environment")


def test_what_is_right_is_read(amend):
    amend({"env_spec": spec(kwargs={"g": 9.81}), "ref_min_score": -1, "total_steps": 5.0})
    found = read_metadata(minari_data_path("toy-v0"), "toy-v0")
    assert (found.steps, found.episodes, found.data_format, found.ref_min_score) == (5, 2, "hdf5", -1.0)
    named = found.environment
    assert (named.id, named.kwargs, named.max_episode_steps, named.entry_point) == (
        "Pendulum-v1", {"g": 9.81}, 200, "x:y",
    )  # fmt: skip


def test_three_hundred_mutations_of_metadata_are_read_or_told(amend):
    """Every value replaced by every odd one, at the top and within its JSON texts."""
    odd = [
        None,
        0,
        -1,
        1e308,
        "",
        "x",
        "[/bold]",
        [],
        {},
        True,
        "{}",
        [[]],
        "9" * 50,
        {"a": {"b": []}},
        "null",
        "\u202e",
    ]
    before = amend({"env_spec": spec(), "eval_env_spec": spec(), "ref_min_score": 0.0, "ref_max_score": 1.0})
    before |= {"env_spec": spec(), "eval_env_spec": spec(), "flowsweep": {"family": "pointmaze"}}
    draw = random.Random(0)
    said = []
    for _ in range(300):
        key, value = draw.choice(sorted(before)), draw.choice(odd)
        inner = before[key]
        if isinstance(inner, str) and inner.startswith("{") and draw.random() < 0.7:
            held = json.loads(inner)
            value = json.dumps({**held, draw.choice(sorted(held)): value})
        amend({key: value})
        said.append(refusal())
    told = [text for text in said if text]
    assert len(told) > 50
    assert not [text for text in told if "\n" in text]


def refusal() -> str:
    """What is said when the dataset is opened; nothing where it opens."""
    try:
        open_dataset("toy-v0")
    except UserError as error:
        return str(error)
    return ""
