"""Queue-based rules as serving systems use them, blind to the execution state."""

from fate.policy.listing import ListPolicy, arrival, shortest
from fate.policy.measures import Draw, Finish, Outstanding, Turn


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


def least_loaded_late() -> ListPolicy:
    """Give each chunk to the device with the least outstanding work, anew until it starts.

    Source: as `least_loaded`. Rule: the same, for every ready chunk with every plan; a chunk may
    wait for a busy device. Deviations: late binding is ours; otherwise as there.
    """
    return ListPolicy(name="least-loaded-late", rank=arrival, measure=Outstanding, binding="late")


def random_device() -> ListPolicy:
    """Bind each chunk to a device drawn at random the moment it is ready.

    Source: random dispatch, the second reference beside round-robin (Eager, Lazowska, Zahorjan,
    IEEE TSE 12(5), 1986). Rule: arrival order; every device that may run the chunk is equally
    likely; final. Deviations: none; the generator is seeded with the run and the plan.
    """
    return ListPolicy(name="random", rank=arrival, measure=Draw, binding="immediate")


def shortest_job() -> ListPolicy:
    """Give idle devices the shortest ready chunks, each where it ends first.

    Source: shortest job first, without preemption (Conway, Maxwell, Miller, "Theory of
    Scheduling", 1967). Rule: by seconds of compute on the quickest device, the lower index among
    equals; of the idle devices the one on which it ends first by compute and transfer; nothing
    waits for a busy device. Deviations: lengths are estimates; devices differ, where the original
    has one server; of more ready chunks than a frontier holds, those in the frontier.
    """
    return ListPolicy(name="shortest-job", rank=shortest, measure=Finish, binding="idle")
