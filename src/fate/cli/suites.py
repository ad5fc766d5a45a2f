"""The simulated suites of `fate bench`: one command each, all with the same options."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

#: Name and line of help of each suite.
SUITES: dict[str, str] = {
    "real-dag": "WfCommons DAGs as LLM workflows on toy clusters: the paper's comparison.",
    "load": "The same with other numbers of workflows at once.",
}

Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Results; default out/SUITE.")]
Policies = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Comma-separated, with options as in fate?depth=0; round-robin always runs.",
    ),
]
Seeds = Annotated[
    str,
    typer.Option(
        metavar="SEEDS",
        help="dev, test (from the commit's hash), or a list such as 0,3,900-902.",
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="A small part of the problems, one minute.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes; default: the cores there are.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Keep the rows in DIR that the same code made.")
]
Instances = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", exists=True, file_okay=False, help="Draw from these WfFormat files."
    ),
]
Choose = Annotated[
    bool, typer.Option("--choose", help="Run every policy and say which baselines are best.")
]
Record = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Append the tables to this page, as docs/results.md."),
]


def add_suites(app: typer.Typer) -> None:
    """Add a command for every suite."""
    for name, text in SUITES.items():
        app.command(name, help=text)(_command(name))


def _command(name: str) -> Callable[..., None]:
    def run(
        out: Out = None,
        policies: Policies = None,
        seeds: Seeds = "dev",
        quick: Quick = False,
        jobs: Jobs = None,
        resume: Resume = False,
        instances: Instances = None,
        choose: Choose = False,
        record: Record = None,
    ) -> None:
        from fate.bench.suites.command import Options, run_suite

        options = Options(
            seeds=seeds,
            policies=policies,
            quick=quick,
            processes=jobs,
            resume=resume,
            instances=instances,
            choose=choose,
            record=record,
        )
        run_suite(name, out if out is not None else Path("out") / name, print, options)

    return run
