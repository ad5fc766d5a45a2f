"""`fate bench calibrate`: what models cost on this machine, kept for later runs."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from fate.bench.report import Echo, Report, table
from fate.bench.statistics import exact
from fate.bench.tiers import cluster_job
from fate.config import default_cluster, load_cluster, resolve
from fate.cost.profile import CallCosts, Profile
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.drivers.calibrate import calibrate
from fate.session import Job, fetch_weights, open_engines
from fate.store.profiles import default_path, save_profile

#: Sizes at which the table shows what prefill and decode come to [tokens].
_PROMPT, _ANSWER = 300, 32


def calibrate_machine(out: Path, echo: Echo, cluster: Path | None = None, *, seed: int = 0) -> None:
    """Measure every model on every device of a cluster with all of them busy, and keep it.

    Args:
        out: folder for the results.
        echo: where lines for people go.
        cluster: the cluster file; None means the cluster made from this machine.
        seed: seeds the words of the probes.
    """
    report = Report("calibrate", out, echo)
    report.show_machine()
    spec = load_cluster(cluster) if cluster else default_cluster()
    job = cluster_job(resolve(spec, {model: model for model in spec.models}))
    profile = asyncio.run(_measure(job, report, seed))
    save_profile(default_path(), job.resolved.cluster, profile)
    for device, costs in profile.costs.items():
        for model, cost in costs.items():
            for metric, value in _figures(cost).items():
                report.add(f"{device}/{model}", "", metric, exact(value))
            report.run({"cell": f"{device}/{model}", "costs": cost, "seed": seed})
    echo(_table(profile.costs))
    echo(f"kept in {default_path()}; summary: {report.write()}")


async def _measure(job: Job, report: Report, seed: int) -> Profile:
    weights = fetch_weights(job, report.echo)
    async with open_engines(job, weights) as engines:
        return await calibrate(
            job.resolved.cluster,
            engines,
            source="calibrated",
            seed=seed,
            on_progress=lambda pair: report.echo(f"measuring {pair} ..."),
        )


def _figures(cost: CallCosts) -> dict[str, float]:
    """Return loads, and the rates that the fitted curves come to at everyday sizes."""
    return {
        "load_s": cost.load_s,
        "unload_s": cost.unload_s,
        "prefill_tokens_per_s": _PROMPT / prefill_seconds(float(_PROMPT), 0.0, *cost.prefill),
        "decode_tokens_per_s": _ANSWER / decode_seconds(float(_ANSWER), _PROMPT, *cost.decode),
    }


def _table(costs: Mapping[str, Mapping[str, CallCosts]]) -> str:
    rows = [
        (device, model, *[f"{value:.3g}" for value in _figures(cost).values()])
        for device, row in costs.items()
        for model, cost in row.items()
    ]
    head = ("device", "model", "load s", "unload s", "prefill tok/s", "decode tok/s")
    return table(head, rows)
