"""Commands that rendered files and their instructions give are commands, with options, that the tools have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import click
import pytest
import typer.main
import yaml

TOOLS = ("flowsweep", "ray", "mlflow")
_FENCE = re.compile(r"^```bash\n(.*?)^```", re.M | re.S)
_ENDS = re.compile(r"\s(?:&&|\|\||[|;&>])(?:\s|$)|;\s|\)$|\s#\s")


@cache
def tool(name: str) -> Any:
    if name == "flowsweep":
        from flowsweep.platform.cli import app

        return typer.main.get_command(app)
    if name == "ray":
        from ray.scripts.scripts import cli

        return cli
    from mlflow.cli import cli

    return cli


def commands(path: str, text: str) -> Iterator[list[str]]:
    """The words of every command of our tools in a file."""
    if path.endswith(".yaml"):
        lines = [line for document in yaml.safe_load_all(text) for line in strings(document)]
    else:
        lines = (
            " \n".join(_FENCE.findall(text) if path.endswith(".md") else [text])
            .replace("\\\n", " ")
            .splitlines()
        )
    for line in lines:
        if line.lstrip().startswith("#"):
            continue
        for found in re.finditer(rf"(?:^|[\s(]|&&|;)({'|'.join(TOOLS)}) (?=[a-z])(.*)", line):
            rest = _ENDS.split(found[2])[0]
            yield [found[1], *shlex.split(rest)]


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from strings(item)


def mistake(words: list[str]) -> str | None:
    """What the tool's own reading of its arguments says against them."""
    command, rest, context = tool(words[0]), words[1:], None
    try:
        while isinstance(command, click.Group) or hasattr(command, "commands"):
            context = click.Context(command, parent=context)
            if not rest or rest[0] not in command.commands:
                return f"{words[0]} has no command {' '.join(rest[:1])}"
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_parser(click.Context(command, parent=context)).parse_args(list(rest))
    except Exception as error:
        return f"{' '.join(words)}: {error}"
    return None


def test_every_command_exists_with_its_options(rendered):
    found = [words for path, text in rendered.items() for words in commands(path, text)]
    assert {"ray", "flowsweep"} & {words[0] for words in found}
    assert [problem for words in found if (problem := mistake(words))] == []


def test_commands_are_found_in_every_sort_of_file(files_of):
    def starts(which: str, path: str) -> set[str]:
        return {" ".join(words[:2]) for words in commands(path, files_of(which)[path])}

    assert starts("aws", "ray-cluster.yaml") == {"ray stop", "ray start"}
    assert starts("slurm", "sweep.sbatch") == {"ray start", "ray status"}
    assert starts("aws", "tracker/entry.sh") == {"mlflow server"}
    assert {"ray up", "ray dashboard", "flowsweep submit"} <= starts("aws", "README.md")


@pytest.mark.parametrize(
    "wrong",
    [
        "ray start --heads",
        "ray begin",
        "flowsweep submit --addres x",
        "mlflow server --app-nam x",
        "mlflow servers",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(wrong):
    assert mistake(wrong.split())


def test_the_jobs_own_entry_is_what_submitted_sweeps_start_with(files_of):
    from flowsweep.cluster import entry, preflight

    assert "python -m flowsweep.cluster.entry take-up" in files_of("slurm")["sweep.sbatch"]
    assert yaml.safe_load(files_of("kuberay")["rayjob.yaml"])["spec"]["entrypoint"].startswith(
        "python -m flowsweep.cluster.entry take-up "
    )
    assert "take-up" in str(entry.__doc__)
    assert preflight.carry_out(["take-up", "/nowhere/sweep.yaml"]) == 2
