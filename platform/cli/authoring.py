"""new, check: commands for whoever writes a system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from .shared import Json, console, print_json, settings, styled

if TYPE_CHECKING:
    from ...trainables.contract import Check

app = typer.Typer()


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the system, and of its folder.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where to write it; a folder of that name when absent.")
    ] = None,
    function: Annotated[
        bool, typer.Option("--function", help="A training function, instead of stages and learners.")
    ] = False,
) -> None:
    """Write a small complete system of your own: its file, a test of what it promises, and a sweep of it.

    Example: `flowsweep new my-method`
    """
    from ...trainables.user_code.scaffold import write_system

    written = write_system(name, folder or Path(name), function=function)
    for file in written:
        console.print(f"  {file}", markup=False, soft_wrap=True)
    code, _, sweep = written
    attribute = "train" if function else "SYSTEM"
    console.print("What to try next:")
    for command in (
        f"flowsweep check {code}:{attribute}",
        f"flowsweep plan {sweep}",
        f"flowsweep run {sweep}",
    ):
        console.print(f"  {command}", markup=False, soft_wrap=True)


@app.command()
def check(
    system: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM", help="A registered system, or a file and what it holds: ./mine.py:SYSTEM."
        ),
    ],
    source: Annotated[
        str | None, typer.Option("--source", help="The dataset, environment or problem it learns from.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="STAGE.FIELD=VALUE", help="Another setting than the preset's; repeatable."
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Steps of every stage.")] = 6,
    episodes: Annotated[
        int, typer.Option("--episodes", min=0, help="Episodes of each evaluation; 0 leaves evaluations out.")
    ] = 2,
    as_json: Json = False,
) -> None:
    """Hold a system to what every learner promises: bit-equal resume, lanes that equal runs alone, a complete identity.

    Runs a few steps of every stage, again and again, here and on CPU. Exits with 1 when a promise is not kept.

    Example: `flowsweep check ./mine.py:SYSTEM`
    """
    from ...testing import checks

    found = checks(system, source, _by_stage(set_ or []), steps=steps, episodes=episodes)
    results = []
    for one in found:
        results.append(_held(one))
        if not as_json:
            _tell(results[-1])
    failed = [one for one in results if not one["kept"]]
    if as_json:
        print_json({"system": system, "kept": not failed, "promises": results})
    else:
        console.print(f"{len(results) - len(failed)} of {len(results)} promises kept.")
    raise typer.Exit(1 if failed else 0)


def _held(one: Check) -> dict[str, Any]:
    try:
        one()
    except AssertionError as error:
        return {"promise": one.name, "kept": False, "says": one.says, "why": str(error)}
    return {"promise": one.name, "kept": True, "says": one.says, "why": ""}


def _tell(result: dict[str, Any]) -> None:
    mark = ("kept  ", "green") if result["kept"] else ("broken", "red")
    console.print(styled(mark, f"  {result['promise']}"), soft_wrap=True)
    if not result["kept"]:
        console.print(f"        {result['why']}", markup=False, soft_wrap=True)


def _by_stage(assignments: list[str]) -> dict[str, dict[str, Any]]:
    """``stage.field=value`` as settings by stage, values in YAML notation."""
    from ..sweep.yaml_file import parse_yaml

    found: dict[str, dict[str, Any]] = {}
    for key, text in settings(assignments).items():
        stage, dot, name = key.partition(".")
        if not dot:
            raise UserError("names no stage", key="--set", value=key, fix="Write `--set STAGE.FIELD=VALUE`.")
        found.setdefault(stage, {})[name] = parse_yaml(str(text), key)
    return found
