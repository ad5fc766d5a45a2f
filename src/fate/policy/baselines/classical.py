"""Classical DAG scheduling, blind to the execution state."""

from fate.policy.kernel.reference_plans import rank_order
from fate.policy.listing import ListPolicy
from fate.policy.measures import Finish


def heft() -> ListPolicy:
    """Bind ready chunks in upward-rank order to the device on which they end first.

    Source: Topcuoglu, Hariri, Wu, "Performance-effective and low-complexity task scheduling for
    heterogeneous computing", IEEE TPDS 13(3), 2002. Rule: rank is the longest path to the end;
    earliest finish by compute and transfer; final. Deviations: ready chunks only, since
    workflows arrive over time (frontier-HEFT); durations in the rank are those of the quickest
    device in place of the mean; chunks are appended, not inserted into gaps; loads and prefix
    hits are not seen, as tasks of the original have no state to share.
    """
    return ListPolicy(name="heft", rank=rank_order, measure=Finish, binding="immediate")
