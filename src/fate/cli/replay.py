"""`fate replay`: a run's journal, checked against the core or decided anew."""

from typing import Annotated

import typer

from fate.cli.options import PolicyName, Settings, parse_settings
from fate.domain.plan import Plan
from fate.drivers.replay import replan
from fate.drivers.replay import replay as check
from fate.session import setup_of
from fate.store.journal import Journal
from fate.store.runs import RunStore


def replay(
    run: Annotated[str, typer.Argument(metavar="RUN", help="`last`, a run's id, or its file.")],
    again: Annotated[
        bool, typer.Option("--replan", help="Let the policy decide anew at every decision.")
    ] = False,
    policy: PolicyName = None,
    settings: Settings = None,
) -> None:
    """Feed RUN's recorded events to the core again and check that it answers the same.

    With --replan every recorded decision is taken again, by the run's own policy or another one,
    from the same snapshot; what differs is listed. Nothing is executed either way.
    """
    path = RunStore().find(run)
    with Journal.open(path) as journal:
        header, records = journal.header, list(journal.records())
    setup = setup_of(header, policy, parse_settings(settings or ()))
    if not again:
        check(records, setup_of(header))
        print(f"ok: {len(records)} records of {header.run} replayed, every command the same")
        return
    total = same = 0
    for decision, plan in replan(records, setup):
        total += 1
        if plan is None:
            print(f"{decision.at_s:8.2f}s  plan {decision.snapshot.version}: the policy failed")
        elif _heads(plan) == _heads(decision.plan):
            same += 1
        else:
            was, now = _heads(decision.plan), _heads(plan)
            print(f"{decision.at_s:8.2f}s  plan {decision.snapshot.version}: {was} -> {now}")
    print(f"{same} of {total} decisions start the same work under {setup.policy.name}")


def _heads(plan: Plan) -> str:
    """Render what each device would start first."""
    return "[" + ", ".join(str(order[0]) if order else "-" for order in plan.orders) + "]"
