"""Queue-based rules as serving systems use them, blind to the execution state."""

from fate.policy.listing import ListPolicy, Outstanding, Turn, arrival


def round_robin() -> ListPolicy:
    """Bind each chunk to the next device in turn the moment it is ready.

    Source: the normaliser of arXiv:2605.07238. Rule: arrival order, cyclic, final. Deviations:
    a device on which the chunk's model cannot run is skipped; a chunk bound to a lost device is
    bound again.
    """
    return ListPolicy(name="round-robin", rank=arrival, measure=Turn, binding="immediate")


def round_robin_idle() -> ListPolicy:
    """Give each idle device in turn the oldest ready chunk that can run there.

    Source: round-robin with late binding, so that it is compared at the same binding discipline.
    Rule: arrival order, cyclic over devices with a free slot; nothing waits for a busy device.
    Deviations: of more ready chunks than a frontier holds, the oldest in the frontier.
    """
    return ListPolicy(name="round-robin-idle", rank=arrival, measure=Turn, binding="idle")


def least_loaded() -> ListPolicy:
    """Bind each chunk to the device with the least outstanding work the moment it is ready.

    Source: least-load dispatch, as in Llumnix (OSDI 2024). Rule: arrival order; what runs plus
    the estimated compute of what is bound; lowest device index among equals. Deviations: seconds
    of estimated work in place of queued tokens and memory; no migration.
    """
    return ListPolicy(name="least-loaded", rank=arrival, measure=Outstanding, binding="immediate")
