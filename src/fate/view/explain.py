"""Why a chunk was put where it was: every device's costs at that decision, recomputed.

Nothing of this is stored. A run is replayed up to the plan in question; `decide` takes the
snapshot the policy saw and the plan it answered with, and prices the chunk on every device with
the kernel that planned it.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import inf

import msgspec

from fate.cost.terms import call_seconds
from fate.domain.catalog import Cluster, Device, Model
from fate.domain.errors import FateError
from fate.domain.graph import Chunk
from fate.domain.messages import Drained
from fate.domain.plan import Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.kernel.problem import Plain, Weights, plain
from fate.policy.kernel.reference import appraise, commit
from fate.policy.kernel.reference_state import Bench, Placement, begun, settle
from fate.view.waits import put_aside

#: Why a device without any free slot, now or later, cannot run a chunk.
LOST = "lost"


class ExplainError(FateError):
    """There is nothing to explain about a chunk at a decision."""

    code = "explain"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the decision to the chunk's end on a device, and the regret beyond it.

    `queue_s` is waiting for what runs there and for what the plan puts before the chunk.
    """

    queue_s: float
    unload_s: float
    load_s: float
    transfer_s: float
    prefill_s: float
    decode_s: float
    regret_s: float


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """The chunk on one device, behind everything else that the plan puts there.

    Attributes:
        why_not: why the device cannot run the chunk; the rest is empty then.
        new_tokens: prompt tokens to compute, of all items.
        cached_tokens: prompt tokens found in the cache, of all items.
        evicts: models that are unloaded for it.
        finish_s: predicted end on the run's clock [s].
        cost_s: all terms together [s].
    """

    device: str
    chosen: bool = False
    why_not: str = ""
    terms: Terms | None = None
    new_tokens: float = 0.0
    cached_tokens: float = 0.0
    evicts: tuple[str, ...] = ()
    finish_s: float | None = None
    cost_s: float | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk in one plan.

    Attributes:
        at_s: when the decision was taken, on the run's clock [s].
        chosen: the device; None where the plan left the chunk waiting for a later one.
        position: the chunk's place in the chosen device's list, from 1.
        starts_now: it is the first there and the device has a free slot.
        runner_up: the best other device.
        lost_by_s: how much more it would have cost; negative where the chunk alone would have
            been better off there, and the plan as a whole was not.
        lost_on: the term in which it lost most (or, if it did not lose, gained least).
        waited_s: how long the chunk had been ready [s].
        must_start: it was over its wait bound.
    """

    at_s: float
    version: int
    policy: str
    chunk: str
    model: str
    options: tuple[Option, ...]
    chosen: str | None
    position: int = 0
    starts_now: bool = False
    runner_up: str | None = None
    lost_by_s: float = 0.0
    lost_on: str = ""
    waited_s: float = 0.0
    must_start: bool = False
    search: Search = Search()


def decide(
    cluster: Cluster,
    snapshot: Snapshot,
    plan: Plan,
    chunk: Chunk,
    regrets: Sequence[float] = (),
    drained: Mapping[int, Drained] | None = None,
) -> Decision:
    """Price a chunk on every device.

    Args:
        cluster: names of the snapshot's devices and models.
        snapshot: what the policy saw.
        plan: what it answered.
        chunk: one of the snapshot's chunks.
        regrets: [D] seconds that the rest would lose if the chunk went to each device; none known.
        drained: devices that were put aside for failing or lagging, or at rest.
    """
    if chunk not in snapshot.chunks:
        raise ExplainError(f"{chunk} was not ready at plan {snapshot.version}; name a later plan")
    node = snapshot.chunks.index(chunk)
    p, orders = plain(snapshot, Weights(depth=0), lookahead=False), indices(snapshot, plan)
    home = next((d for d, order in enumerate(orders) if node in order), None)
    lost_s = regrets or [0.0] * p.devices
    options = tuple(
        _option(cluster, p, (device, orders[device]), node, lost_s[device])
        for device in range(p.devices)
    )
    options = tuple(
        msgspec.structs.replace(option, why_not=put_aside(drained[device]))
        if drained and device in drained and option.why_not == LOST
        else option
        for device, option in enumerate(options)
    )
    decision = Decision(
        at_s=snapshot.now_s,
        version=snapshot.version,
        policy=plan.policy,
        chunk=str(chunk),
        model=cluster.models[p.model[node]].id,
        options=options,
        chosen=None if home is None else cluster.devices[home].id,
        waited_s=float(snapshot.waited_s[node]),
        must_start=bool(snapshot.must_start[node]),
        search=plan.search,
    )
    if home is None:
        return decision
    position = orders[home].index(node)
    decision = msgspec.structs.replace(
        decision, position=position + 1, starts_now=position == 0 and home in snapshot.idle()
    )
    return _with_runner_up(decision, options[home])


def indices(snapshot: Snapshot, plan: Plan) -> list[list[int]]:
    """Return the plan's orders as node indices; chunks that are not ready any more are left out."""
    numbers = {chunk: number for number, chunk in enumerate(snapshot.chunks)}
    return [[numbers[chunk] for chunk in order if chunk in numbers] for order in plan.orders]


def walk(p: Plain, device: int, order: list[int]) -> Iterator[tuple[int, Placement]]:
    """Yield what would happen to each node of a device's list, those that cannot run left out.

    A call behind a load ends by what begins before it, which may stand behind it in the list.
    """
    bench, found = Bench(p, device), dict[int, Placement]()
    for node in order:
        placed = appraise(p, bench, device, node)
        if placed is not None:
            found[node] = commit(p, bench, node, placed)
    settle(p, bench, inf)
    for node, end_s in begun(bench):
        if node in found and end_s != found[node].finish_s:
            placed = found[node]
            *before, work_s = placed.terms
            later_s = end_s - placed.finish_s
            terms = (before[0], before[1], before[2], work_s + later_s)
            found[node] = placed._replace(finish_s=end_s, terms=terms)
    yield from found.items()


def _option(
    cluster: Cluster, p: Plain, place: tuple[int, list[int]], node: int, regret_s: float
) -> Option:
    """Price a node on a device: at its place in the list if it has one, else behind all of it."""
    device, order = place
    chosen = node in order
    listed = order if chosen else [*order, node]
    placed = next((found for one, found in walk(p, device, listed) if one == node), None)
    name = cluster.devices[device].id
    if placed is None:
        return Option(device=name, chosen=chosen, why_not=_why_not(cluster, p, device, node))
    terms = _terms(p, device, node, placed, regret_s)
    rest, shared = p.rest_items[node], p.head_tokens[node]
    return Option(
        device=name,
        chosen=chosen,
        terms=terms,
        new_tokens=p.first_tokens[node] - placed.cached + p.rest_tokens[node],
        cached_tokens=placed.cached + rest * shared,
        evicts=tuple(cluster.models[model].id for model in placed.gone),
        finish_s=placed.finish_s,
        cost_s=sum(msgspec.structs.astuple(terms)),
    )


def _terms(p: Plain, device: int, node: int, placed: Placement, regret_s: float) -> Terms:
    """Split a placement into terms; they add up to its finish, as seen from now, and regret."""
    unload_s, load_s, transfer_s, work_s = placed.terms
    model = p.model[node]
    rest = (p.rest_items[node], p.rest_tokens[node], p.head_tokens[node])
    first, output = p.first_tokens[node], p.output_tokens[node]
    prefill = (
        p.prefill[device][model][0],
        p.prefill[device][model][1],
        p.prefill[device][model][2],
    )
    decode = (p.decode[device][model][0], p.decode[device][model][1], p.decode[device][model][2])
    alone_s = call_seconds(first, placed.cached, rest, output, prefill, decode)
    prefill_s = call_seconds(first, placed.cached, rest, output, prefill, (0.0, 0.0, 0.0))
    share = prefill_s / alone_s if alone_s > 0 else 0.0
    return Terms(
        queue_s=max(0.0, placed.loaded_s - unload_s - load_s - p.now_s),
        unload_s=unload_s,
        load_s=load_s,
        transfer_s=transfer_s,
        prefill_s=work_s * share,
        decode_s=work_s * (1.0 - share),
        regret_s=regret_s,
    )


def _why_not(cluster: Cluster, p: Plain, device: int, node: int) -> str:
    where, model = cluster.devices[device], cluster.models[p.model[node]]
    if where.models and model.id not in where.models:
        return f"does not serve {model.id}"
    if not cluster.supports(where, model):
        return _too_small(where, model)
    if not min(p.free_at_s[device]) < inf:
        return LOST
    if not p.eligible[node][device]:
        return "failed here before, others can still try"
    return f"no room for {model.id} beside pinned models"


def _too_small(device: Device, model: Model) -> str:
    need, have = model.footprint_bytes / 2**20, device.memory_bytes / 2**20
    return f"{model.id} needs {need:.0f} MiB, the device declares {have:.0f} MiB"


def _with_runner_up(decision: Decision, chosen: Option) -> Decision:
    """Find the best other device, and the term that decided against it."""
    others = [o for o in decision.options if not o.chosen and o.cost_s is not None]
    if chosen.cost_s is None or chosen.terms is None or not others:
        return decision
    best = min(others, key=lambda option: option.cost_s if option.cost_s is not None else inf)
    assert best.terms is not None
    assert best.cost_s is not None
    ours, theirs = msgspec.structs.asdict(chosen.terms), msgspec.structs.asdict(best.terms)
    worst = max(ours, key=lambda term: theirs[term] - ours[term])
    return msgspec.structs.replace(
        decision,
        runner_up=best.device,
        lost_by_s=best.cost_s - chosen.cost_s,
        lost_on=worst.removesuffix("_s"),
    )
