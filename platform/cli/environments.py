"""Commands about environments that systems learn in: which there are, and what one is."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UserError
from .shared import Json, console, grid, print_json

app = typer.Typer(
    help="Environments with a cost beside the reward, to learn in: list and inspect them.",
    no_args_is_help=True,
)


@app.command("list", epilog="Examples: `flowsweep environments list` · `flowsweep environments list --json`")
def list_environments(as_json: Json = False) -> None:
    """List the constrained environments that have a name here."""
    from ...trainables.envs.constrained_names import BY_GYMNASIUM, environments

    found = list(environments().values())
    if as_json:
        facts = ("name", "title", "episode_steps", "limit", "discounted", "cost")
        print_json([{fact: getattr(one, fact) for fact in facts} for one in found])
        return
    rows = [
        [
            one.name,
            f"{one.episode_steps:,}",
            f"{one.limit:g}{', discounted' if one.discounted else ''}",
            one.cost,
            one.title,
        ]
        for one in found
    ]
    console.print(grid(None, ["environment", "steps", "limit", "cost of a step", "what"], rows, right={1}))
    console.print(
        f"Any other one that gymnasium knows and that reports a cost: `environment: {BY_GYMNASIUM}ID`."
    )


@app.command(
    epilog="Examples: `flowsweep environments show detour-v0` · `flowsweep environments show swimmer-velocity-v1 --json`"
)
def show(
    environment: Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="A name; see `list`.")],
    as_json: Json = False,
) -> None:
    """Build one, take a step in it, and show what a learner would meet."""
    from ...trainables.envs.constrained_names import open_environment

    facts = dict(open_environment(environment).describe())
    if as_json:
        print_json(facts)
        return
    limit = f"{facts['cost_limit']:g} per episode" + (", discounted" if facts["limit_is_discounted"] else "")
    rows = [
        ["environment", facts["environment"]],
        ["what", facts["title"]],
        ["fingerprint", facts["fingerprint"][:16]],
        ["observation, action", f"{facts['observation_dim']}, {facts['action_dim']}"],
        ["longest episode", f"{facts['episode_steps']:,} environment steps"],
        ["cost of a step", facts["cost"]],
        ["limit", limit],
    ]
    console.print(grid(None, ["", ""], rows))


@app.command(
    epilog="Examples: `flowsweep environments allow minigrid` · `flowsweep environments allow --list` · "
    "`flowsweep environments allow minigrid --forget`"
)
def allow(
    package: Annotated[
        str | None, typer.Argument(metavar="PACKAGE", help="The name an installed package is imported by.")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Take the permission back.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Show what is allowed, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Import an installed package whenever environments are looked up, so that those it registers are found.

    What a dataset names is never a reason to import anything. Packages that announce their environments to gymnasium
    need no permission. It holds for everything that uses this home, workers included.
    """
    from ...trainables.envs import allowed

    if not show:
        if package is None:
            raise UserError("which one?", key="PACKAGE", fix="`--list` shows what is allowed.")
        (allowed.forget if forget else allowed.allow)(package)
    found = allowed.allowed()
    if as_json:
        print_json(found)
    else:
        console.print(
            f"Imported before environments are looked up: {', '.join(found) or 'nothing'}.", markup=False
        )
