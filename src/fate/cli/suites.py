"""The simulated suites of `fate bench`: one command each, with the same options."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer


class Command(NamedTuple):
    """A line of help, and the option for own data if there is one."""

    help: str
    data: str = ""


#: Each suite's command.
SUITES: dict[str, Command] = {
    "real-dag": Command("WfCommons DAGs on toy clusters: the paper's comparison.", "instances"),
    "llm-native": Command("LLM workflows with measured shapes and tokens on real GPUs.", "graphs"),
    "prefix-reuse": Command("The same DAGs with more and more of their prompts in common."),
    "trace": Command("Windows of a trace of requests or agents' sessions.", "trace"),
    "noise": Command("real-dag's headline with estimates that are wrong.", "instances"),
    "arrivals": Command("Workflows that arrive over time, up to .9 of capacity.", "instances"),
    "load": Command("real-dag's headline with other numbers of workflows.", "instances"),
    "ablation": Command("`fate` without one part after the other.", "instances"),
    "anytime": Command("`foresight` with less and more of its search budget.", "instances"),
    "tune": Command("Options of baselines, on development seeds.", "instances"),
    "frontier": Command("Other bounds on the ready calls in view.", "instances"),
}
_DATA = ("instances", "graphs", "trace")

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
Graphs = Annotated[
    Path | None,
    typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Run these graphs instead."),
]
Trace = Annotated[
    Path | None,
    typer.Option(metavar="FILE", exists=True, dir_okay=False, help="The trace (JSON lines)."),
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
    for name, command in SUITES.items():
        app.command(name, help=command.help)(_command(name, command.data))


def _command(name: str, data: str) -> Callable[..., None]:
    """Return a suite's command: with its own option for data, without the others'."""

    def run(
        out: Out = None,
        policies: Policies = None,
        seeds: Seeds = "dev",
        quick: Quick = False,
        jobs: Jobs = None,
        resume: Resume = False,
        instances: Instances = None,
        graphs: Graphs = None,
        trace: Trace = None,
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
            graphs=graphs,
            trace=trace,
            choose=choose,
            record=record,
        )
        folder = out if out is not None else Path("out") / name
        try:
            run_suite(name, folder, print, options)
        except OSError as error:  # writing to an open file does not say where
            error.filename = error.filename or str(folder)
            raise

    known = inspect.signature(run)
    kept = [p for p in known.parameters.values() if p.name not in _DATA or p.name == data]
    vars(run)["__signature__"] = known.replace(parameters=kept)
    return run
