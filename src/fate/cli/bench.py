"""`fate bench`: the measurements of the docs, each by one command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fate.cli.suites import Quick, Resume, Seeds, add_suites

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
add_suites(app)

Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Results; default out/SUITE.")]

Policies = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="Comma-separated, with options as in fate?depth=0."),
]
Processes = Annotated[
    int, typer.Option("--jobs", min=1, help="Processes; more than one disturbs what is timed.")
]


def _asked(name: str, **options: str | bool | Sequence[int] | None) -> str:
    """Return the command with the options that were given, seeds as numbers."""
    parts = [f"fate bench {name}"]
    for option, value in options.items():
        if isinstance(value, str):
            parts.append(f"--{option} {value}")
        elif isinstance(value, bool) or value is None:
            parts += [f"--{option}"] if value else []
        else:
            parts.append(f"--{option} {','.join(map(str, value))}")
    return " ".join(parts)


def _out(given: Path | None, suite: str) -> Path:
    return given if given is not None else Path("out") / suite


@app.command()
def latency(
    out: Out = None,
    policies: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Whose decisions are timed; default: fate,late-eft."),
    ] = None,
    decisions: Annotated[int, typer.Option(min=10, help="Decisions that are timed.")] = 300,
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each shape of no-op work.")] = 7,
    quick: Annotated[
        bool, typer.Option("--quick", help="No more than 50 decisions and one run.")
    ] = False,
) -> None:
    """Time decisions, the event loop while planning, and the runtime per no-op item."""
    from fate.bench.latency import DEFAULT_POLICIES, LatencyPlan
    from fate.bench.latency import latency as measure
    from fate.bench.policies import policy_list

    plan = LatencyPlan(
        policies=DEFAULT_POLICIES if policies is None else policy_list(policies),
        decisions=min(decisions, 50) if quick else decisions,
        repeat=1 if quick else repeat,
    )
    asked = _asked(
        "latency",
        policies=policies,
        decisions=str(plan.decisions),
        repeat=str(plan.repeat),
    )
    measure(_out(out, "latency"), print, plan, asked)


@app.command()
def scale(
    out: Out = None,
    policies: Policies = None,
    seeds: Seeds = "0",
    quick: Quick = False,
    jobs: Processes = 1,
    resume: Resume = False,
) -> None:
    """Time decisions at 1 000 to 10 000 waiting stages and on 16 and 64 devices."""
    from dataclasses import replace

    from fate.bench.machine import commit
    from fate.bench.policies import policy_list
    from fate.bench.scale import scale as measure
    from fate.bench.scale import scale_plan
    from fate.bench.suites.seeds import read_seeds

    plan = scale_plan(quick=quick)
    named = plan.policies if policies is None else policy_list(policies)
    found = read_seeds(seeds, commit())
    plan = replace(plan, policies=named, seeds=found, processes=jobs, resume=resume)
    measure(
        _out(out, "scale"),
        print,
        plan,
        _asked("scale", seeds=found, quick=quick, policies=policies),
    )


@app.command()
def live(
    out: Out = None,
    cells: Annotated[str, typer.Option(metavar="NAMES", help="Comma-separated, or all.")] = "all",
    policies: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Comma-separated; default: all, fewer where no gain is possible."
        ),
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(
            metavar="SEEDS",
            help="A round of runs in every cell for each: dev, test (from the commit's hash), or "
            "a list such as 0-9. The first one seeds calibration too.",
        ),
    ] = "0-2",
    tier: Annotated[str, typer.Option(help="synthetic or real models.")] = "synthetic",
    park: Annotated[bool, typer.Option(help="Let every policy park KV states.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="The first seed only.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Keep the runs in DIR that the same code made on this machine with these "
            "settings; a cell and seed of which a policy is missing runs again as a whole.",
        ),
    ] = False,
) -> None:
    """Run policies against each other on real models, side by side, on equal work."""
    from fate.bench.cells import pick
    from fate.bench.live import live as measure
    from fate.bench.live_plan import LivePlan, live_policies
    from fate.bench.machine import commit
    from fate.bench.suites.seeds import read_seeds

    plan = LivePlan(
        cells=pick(cells),
        policies=None if policies is None else live_policies(policies),
        seeds=read_seeds(seeds, commit())[: 1 if quick else None],
        tier=tier,
        park=park,
        resume=resume,
    )
    asked = _asked("live", cells=cells, policies=policies, seeds=plan.seeds, tier=tier, park=park)
    measure(_out(out, "live"), print, plan, asked)


@app.command()
def chained(
    out: Out = None,
    pairs: Annotated[int, typer.Option(min=1, help="Runs of each policy and loop.")] = 5,
    tier: Annotated[str, typer.Option(help="synthetic or real models.")] = "synthetic",
    seed: Annotated[int, typer.Option(help="Seeds calibration and policies.")] = 0,
) -> None:
    """Run a chained map (24 items, 4 stages, 3 models) against loops written by hand."""
    from fate.bench.chained import chained as measure

    measure(_out(out, "chained"), print, pairs=pairs, tier=tier, seed=seed)


@app.command()
def timeline(
    out: Out = None,
    bars: Annotated[int, typer.Option(min=100, help="Bars of the simulated run.")] = 10_000,
    repeat: Annotated[int, typer.Option(min=1, help="Times everything is measured.")] = 5,
) -> None:
    """Time how fast a large run's timeline opens and pans in headless Chromium."""
    from fate.bench.timeline import timeline as measure

    measure(_out(out, "timeline"), print, bars=bars, repeat=repeat)


@app.command()
def resume(
    out: Out = None,
    kills: Annotated[int, typer.Option(min=0, help="Kills on the fake engine.")] = 100,
    processes: Annotated[int, typer.Option(min=0, help="Kills of real processes.")] = 10,
    items: Annotated[int, typer.Option(min=0, help="Items of the long run.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seeds the moments of the kills.")] = 0,
) -> None:
    """Kill runs at random moments, resume them and compare; time recovery of a long run."""
    from fate.bench.resume import resume as measure

    measure(_out(out, "resume"), print, kills=kills, processes=processes, items=items, seed=seed)


@app.command()
def park(
    out: Out = None,
    pairs: Annotated[int, typer.Option(min=1, help="Runs of each cell and setting.")] = 3,
    tier: Annotated[str, typer.Option(help="synthetic or real models.")] = "synthetic",
    seed: Annotated[int, typer.Option(help="Seeds calibration and policies.")] = 0,
) -> None:
    """Run `fate` with kept KV states (with moves, without moves) and with none, side by side."""
    from fate.bench.park import park as measure

    measure(_out(out, "park"), print, pairs=pairs, tier=tier, seed=seed)


@app.command()
def move(
    out: Out = None,
    pairs: Annotated[int, typer.Option(min=1, help="Runs over each link, off and on.")] = 3,
    tier: Annotated[str, typer.Option(help="synthetic or real models.")] = "synthetic",
    seed: Annotated[int, typer.Option(help="Seeds calibration.")] = 0,
) -> None:
    """Hand chains from device to device over links of 1 MB/s to 1 GB/s, moving their KV states."""
    from fate.bench.move import move as measure

    measure(_out(out, "move"), print, pairs=pairs, tier=tier, seed=seed)


@app.command()
def calibrate(
    out: Out = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cluster file; by default made from this machine."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seeds the words of the probes.")] = 0,
) -> None:
    """Measure what models cost on this machine, all devices busy, and keep it for later runs."""
    from fate.bench.calibration import calibrate_machine

    calibrate_machine(_out(out, "calibrate"), print, cluster, seed=seed)


@app.command()
def faults(
    out: Out = None,
    runs: Annotated[
        int, typer.Option(min=1, help="Runs with a fault, each beside one without.")
    ] = 50,
    virtual: Annotated[
        bool, typer.Option("--virtual", help="In virtual time only: no device is started.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seeds kinds, devices and moments.")] = 0,
) -> None:
    """Kill, hang or slow a device at a drawn moment; compare with the capacity that remained."""
    from fate.bench.faults import faults as measure

    measure(_out(out, "faults"), print, runs=runs, seed=seed, virtual=virtual)


@app.command()
def view(
    out: Out = None,
    pairs: Annotated[int, typer.Option(min=1, help="Runs with and without the view.")] = 3,
    seed: Annotated[int, typer.Option(help="Seeds calibration and policies.")] = 0,
) -> None:
    """Measure what the live view of `fate run` and the end it expects cost, on real models."""
    from fate.bench.view import view as measure

    measure(_out(out, "view"), print, pairs, seed)


@app.command()
def oracle(
    out: Out = None,
    policies: Policies = None,
    seeds: Seeds = "0-11",
    quick: Quick = False,
    jobs: Processes = 1,
    resume: Resume = False,
    stages: Annotated[int, typer.Option(min=1, help="Stages of each case.")] = 12,
    devices: Annotated[int, typer.Option(min=1, help="Devices of each case.")] = 3,
) -> None:
    """Compare policies with the exact optimum on small cases, proved by CP-SAT."""
    from fate.bench.machine import commit
    from fate.bench.oracle import QUICK_SEEDS, OraclePlan, default_policies
    from fate.bench.oracle import oracle as measure
    from fate.bench.policies import policy_list
    from fate.bench.suites.seeds import read_seeds

    found = read_seeds(seeds, commit())[: QUICK_SEEDS if quick else None]
    plan = OraclePlan(
        policies=default_policies() if policies is None else policy_list(policies),
        seeds=found,
        stages=stages,
        devices=devices,
        processes=jobs,
        resume=resume,
    )
    asked = _asked("oracle", seeds=found, quick=quick, policies=policies)
    measure(_out(out, "oracle"), print, plan, asked)


@app.command()
def offline(
    out: Out = None,
    seeds: Annotated[int, typer.Option(min=1, help="Instances of each cell.")] = 1,
    cells: Annotated[int, typer.Option(min=1, help="Cells of real-dag's quick run, in order.")] = 4,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default all cores.")] = None,
) -> None:
    """Anneal from foresight's schedules with ten and twenty times its evaluations."""
    from fate.bench.doubling import offline as measure

    measure(_out(out, "offline"), print, seeds=seeds, cells=cells, jobs=jobs)


@app.command()
def solvers(
    out: Out = None,
    snapshots: Annotated[int, typer.Option(min=1, help="Decisions of each size.")] = 5,
) -> None:
    """Place 8 to 128 ready calls by local search, linear assignment and CP-SAT."""
    from fate.bench.solvers import solvers as measure

    measure(_out(out, "solvers"), print, snapshots=snapshots)


@app.command()
def slots(
    out: Out = None,
    cases: Annotated[int, typer.Option(min=1, help="Random cases for each number of slots.")] = 20,
) -> None:
    """Compare replay and projection with the simulator on devices with 1 to 8 slots."""
    from fate.bench.slots import slots as measure

    measure(_out(out, "slots"), print, cases=cases)


@app.command()
def lead(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR", help="Default: out/real-dag out/llm-native."),
    ] = None,
    out: Out = None,
) -> None:
    """Add up foresight's lead over the best baseline in real-dag's and llm-native's results."""
    from fate.bench.suites.lead import lead as add_up

    found = folders or [Path("out") / "real-dag", Path("out") / "llm-native"]
    add_up(_out(out, "lead"), print, found)
