"""Classical scheduling of whole task graphs, as published, seeing the state, and binding late."""

from fate.policy.dag import cpop as cpop_rule
from fate.policy.dag import heft as heft_rule
from fate.policy.dag import peft as peft_rule
from fate.policy.kernel.reference_plans import rank_order
from fate.policy.listing import ListPolicy
from fate.policy.measures import Finish
from fate.policy.whole_dag import DagPolicy


def heft() -> DagPolicy:
    """Schedule whole graphs, longest path to the end first, each stage where it ends first.

    Source: Topcuoglu, Hariri, Wu, "Performance-effective and low-complexity task scheduling for
    heterogeneous computing", IEEE TPDS 13(3), 2002; its example comes out as printed. Rule: rank
    is the longest path to the end with mean work and mean transfer; tasks by falling rank, each
    on the device where it ends first, gaps between tasks included; final. Deviations: graphs that
    arrive together are one graph, later ones are scheduled around what is bound; transfer holds
    the slot, as it does on these devices, where the paper lets it run beside the work; a device
    does not wait for the next in its line while another task bound to it is ready; of a map that
    is cut into chunks each chunk is a task. Loads and cached prefixes are not seen, as tasks of
    the original have no state to share.
    """
    return DagPolicy(name="heft", rule=heft_rule)


def heft_frontier() -> ListPolicy:
    """Bind ready chunks in upward-rank order to the device on which they end first.

    Source: HEFT for work that arrives over time, as runtimes have it: StarPU's `dmdas` scheduler
    (Augonnet, Thibault, Namyst, Wacrenier, "StarPU", Concurrency and Computation 23(2), 2011) and
    the online HEFT of anrg-saga. Rule: rank is the longest path to the end; a chunk that becomes
    ready goes where it ends first by compute and transfer, behind what is bound there; final.
    Deviations: durations in the rank are those of the quickest device in place of the mean; loads
    and cached prefixes are not seen.
    """
    return ListPolicy(name="heft-frontier", rank=rank_order, measure=Finish, binding="immediate")


def heft_state() -> DagPolicy:
    """Schedule whole graphs as HEFT does, loads and hits included.

    Source: as `heft`. Rule: as there. Deviations: finish times include loads, evictions and
    cached prefixes under the state that the schedule so far leaves behind, which is ours; a gap
    takes only a task whose model is loaded then, so that none behind it has to load anew;
    otherwise as there.
    """
    return DagPolicy(name="heft-state", rule=heft_rule, state=True)


def heft_late() -> DagPolicy:
    """Take ready chunks by HEFT's rank, each where it ends first, anew until it starts.

    Source: as `heft`. Rule: the same rank over all stages that are visible; earliest finish by
    compute and transfer over all devices, busy ones too, for the foremost ready chunks with every
    plan. Deviations: late binding is ours; there are no gaps, since nothing is placed ahead of
    time. With the state as well this is `late-eft`.
    """
    return DagPolicy(name="heft-late", rule=heft_rule, late=True)


def cpop() -> DagPolicy:
    """Schedule whole graphs, the critical path on one device, the rest where it ends first.

    Source: as `heft`. Rule: priority is the length of the longest path through a task, with mean
    work and mean transfer; of the tasks whose parents are placed the one of highest priority is
    next; those on the critical path go to the device with the least work for all of it; final.
    Deviations: as `heft`, so graphs that arrive together have one critical path; the device that
    can run most of the path comes first, and what it cannot run goes where it ends first. A late
    variant would contradict the rule, which is to bind the path.
    """
    return DagPolicy(name="cpop", rule=cpop_rule)


def cpop_state() -> DagPolicy:
    """Schedule whole graphs as CPOP does, loads and hits included.

    Source: as `cpop`. Rule: as there. Deviations: as `heft_state`, and as `cpop`.
    """
    return DagPolicy(name="cpop-state", rule=cpop_rule, state=True)


def peft() -> DagPolicy:
    """Schedule whole graphs with a look ahead: finish plus the cheapest way from there to the end.

    Source: Arabnejad, Barbosa, "List scheduling algorithm for heterogeneous systems by an
    optimistic cost table", IEEE TPDS 25(3), 2014; its example comes out as published. Rule:
    OCT(t, p) is the longest, over children, of the cheapest continuation on any device, with mean
    transfer; of the tasks whose parents are placed the one with the highest mean OCT is next, on
    the device with the lowest finish + OCT, gaps included; final. Deviations: as `heft`.
    """
    return DagPolicy(name="peft", rule=peft_rule)


def peft_state() -> DagPolicy:
    """Schedule whole graphs as PEFT does, loads and hits included in the finish.

    Source: as `peft`. Rule: as there. Deviations: as `heft_state`; the table itself stays as
    published, since what will be loaded far ahead is not known.
    """
    return DagPolicy(name="peft-state", rule=peft_rule, state=True)


def peft_late() -> DagPolicy:
    """Take ready chunks by PEFT's rank, each where finish + OCT is lowest, anew until it starts.

    Source: as `peft`. Rule: the same table over all stages that are visible; finish by compute
    and transfer over all devices, busy ones too. Deviations: late binding is ours, as in
    `heft_late`.
    """
    return DagPolicy(name="peft-late", rule=peft_rule, late=True)


def peft_state_late() -> DagPolicy:
    """Take ready chunks by PEFT's rank, finish with loads and hits, anew until they start.

    Source: as `peft`. Rule: as `peft_late`. Deviations: late binding and the state in finish
    times, both ours.
    """
    return DagPolicy(name="peft-state-late", rule=peft_rule, state=True, late=True)
