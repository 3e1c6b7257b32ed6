"""Commands about problems that systems are judged on: which there are, and what one looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shared import Json, console, grid, print_json

app = typer.Typer(
    help="Inverse problems with known truths, data with and without outliers: list and draw them.",
    no_args_is_help=True,
)


@app.command("list", epilog="Examples: `flowsweep problems list` · `flowsweep problems list --json`")
def list_problems(as_json: Json = False) -> None:
    """List the problems that have a name here."""
    from ...trainables.problem_names import problem_entries

    found = problem_entries()
    if as_json:
        print_json([{"name": n, "system": system, "title": e.title} for n, (system, e) in found.items()])
        return
    rows = [[name, system, entry.title] for name, (system, entry) in found.items()]
    console.print(grid(None, ["problem", "system", "what"], rows))


@app.command(
    epilog="Examples: `flowsweep problems show mixture-cs` · `flowsweep problems show digits-blur --share 0.2 --out blur.png`"
)
def show(
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help="A name; see `list`.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the picture goes.", show_default="PROBLEM.png", dir_okay=False)
    ] = None,
    share: Annotated[float, typer.Option(help="Share of outliers, at least 0 and below 1.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of truths, noise and outliers.")] = 0,
    as_json: Json = False,
) -> None:
    """Open one, check its operator, show its sizes and draw a few truths with their data."""
    from ...trainables.problem_names import open_named_problem

    opened = open_named_problem(problem)
    picture = opened.draw(out or Path(f"{problem}.png"), seed=seed, share=share)
    facts = {
        "problem": problem,
        "fingerprint": opened.fingerprint,
        **opened.describe(),
        "picture": str(picture),
    }
    if as_json:
        print_json(facts)
        return
    rows = [
        ["problem", problem],
        ["what", facts["title"]],
        ["fingerprint", facts["fingerprint"][:16]],
        ["unknowns, observations", f"{facts['unknowns']}, {facts['observations']}"],
        ["operator", "linear, adjoint checked" if facts["linear"] else "nonlinear, derivative checked"],
        ["noise", f"{facts['noise']:.3g} on data of size {facts['data_amplitude']:.3g}"],
        [
            "prior",
            f"{facts['prior']}, "
            + ("known in closed form" if facts["prior_known"] else "learnt from examples"),
        ],
        ["exact posterior", "known" if facts["exact_posterior"] else "not known"],
        ["problems", f"{facts['tune_problems']:,} to tune on, {facts['test_problems']:,} others to test on"],
        ["picture", str(picture)],
    ]
    console.print(grid(None, ["", ""], rows))
