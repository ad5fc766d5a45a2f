"""What a live view shows beside the log: read off a runtime and its outlook at one moment."""

from collections.abc import Iterable

from fate.domain.messages import ActivityId
from fate.drivers.outlook import Outlook
from fate.drivers.run import Runtime
from fate.view.screen import Gauges


def read_gauges(
    runtime: Runtime, outlook: Outlook, base: Gauges, running: Iterable[ActivityId]
) -> Gauges:
    """Return the gauges of this moment.

    Args:
        runtime: the run.
        outlook: predictions of its end.
        base: title, policy, news, and the end that was expected at first.
        running: activities in progress.
    """
    now_s, fleet = runtime.now_s, runtime.core.fleet
    chains = {activity: fleet.chain(activity) for activity in running}
    points = outlook.points
    return Gauges(
        title=base.title,
        policy=base.policy,
        now_s=now_s,
        first_end_s=base.first_end_s,
        expected_end_s=points[-1][1] if points else base.first_end_s,
        expected_s={a: c.steps[0].expected_s for a, c in chains.items() if c is not None},
        cpu_share=runtime.usage.cpu_s / max(now_s * outlook.cores, 1e-9),
        tokens_per_s=base.tokens_per_s,
        events=base.events,
    )
