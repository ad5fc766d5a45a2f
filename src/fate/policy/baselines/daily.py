"""What people run every day: local model servers that swap, and gateways that score replicas."""

from functools import partial
from math import inf

from fate.domain.errors import FateError
from fate.domain.snapshot import Snapshot
from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference import appraise, commit, find_sequence
from fate.policy.kernel.reference_state import benches
from fate.policy.listing import Binding, ListPolicy, arrival
from fate.policy.measures import Loaded, Score

#: Weights of queue, KV utilisation and prefix. Llm-d's guide to inference scheduling has 2 : 2 : 3
#: (guides/inference-scheduling/scheduler/inference-scheduling.values.yaml of llm-d/llm-d at
#: 086f217); by `fate bench tune --quick` a queue that counts double is better.
QUEUE, KV, PREFIX = 4.0, 2.0, 3.0


def arrival_lru() -> ListPolicy:
    """Serve calls in order of arrival, where the model is loaded if it can be, swapping models.

    Source: Ollama (server/sched.go of ollama/ollama) and llama-swap: first come, first served; a
    loaded model answers, otherwise the least recently used one makes room. Rule: the oldest call
    takes an idle device that has its model, else the first idle device; LRU eviction, which is
    the core's; nothing waits for a busy device. Deviations: several devices stand for several
    servers, and a model may be loaded on more than one, where one server would queue the call
    behind the copy it has; a call that no idle device may run does not hold up those behind it.
    """
    return ListPolicy(name="arrival-lru", rank=arrival, measure=Loaded, binding="idle")


class Scorers:
    """Minus the weighted sum of scores between 0 and 1: queue, KV utilisation, prefix."""

    def __init__(
        self, snapshot: Snapshot, p: Plain, cursor: int, weights: tuple[float, float, float]
    ) -> None:
        del snapshot
        self.cursor = cursor
        self._p, self._weights, self._state = p, weights, benches(p)
        self._waiting = [0] * p.devices
        self._unused = [_unused_share(slots, p.now_s) for slots in p.free_at_s]

    def scores(self, node: int, hosts: list[int]) -> list[Score]:
        """Return the negated weighted sums."""
        queues = [self._waiting[device] for device in hosts]
        most, span = max(queues), max(queues) - min(queues)
        queue, kv, prefix = self._weights
        return [
            (
                -queue * ((most - waiting) / span if span else 1.0)
                - kv * self._unused[device]
                - prefix * self._hit_share(node, device),
            )
            for device, waiting in zip(hosts, queues, strict=True)
        ]

    def _hit_share(self, node: int, device: int) -> float:
        tokens = self._p.first_tokens[node]
        seat = find_sequence(self._p, self._state[device], device, node)
        return max(seat.cached, seat.copied) / tokens if tokens else 0.0

    def place(self, node: int, device: int) -> None:
        """One more call waits there, and will leave its prompt in the cache."""
        self._waiting[device] += 1
        placed = appraise(self._p, self._state[device], device, node)
        if placed is not None:
            commit(self._p, self._state[device], node, placed)


def _unused_share(slots: list[float], now_s: float) -> float:
    """Return the share of a device's slots, and so of the KV cache in use, that is free."""
    there = [at_s for at_s in slots if at_s < inf]
    return sum(at_s <= now_s for at_s in there) / len(there) if there else 0.0


def _scorers(name: str, binding: Binding, weights: tuple[float, float, float]) -> ListPolicy:
    if min(weights) < 0.0 or not sum(weights) > 0.0:
        raise FateError(f"policy {name}: weights must not be negative, nor all zero: {weights}")
    return ListPolicy(
        name=name, rank=arrival, measure=partial(Scorers, weights=weights), binding=binding
    )


def weighted_scorers(queue: float = QUEUE, kv: float = KV, prefix: float = PREFIX) -> ListPolicy:
    """Bind each call to the replica with the highest weighted sum of three scores.

    Source: llm-d's inference scheduler (endpoint picker of the Kubernetes Gateway API inference
    extension). Rule: arrival order; the highest of 4 x queue (1 for the shortest queue, 0 for the
    longest, 1 if all are equal) + 2 x KV utilisation (1 minus the share in use) + 3 x prefix (the
    share of the prompt that is cached); final. Deviations: its guide's weights are 2 : 2 : 3, which
    is worse here, as loads make queues dear; the lowest index wins a tie, which is drawn there; KV
    in use is counted in slots; the true cache in place of a guess at it; a pool serves one model
    there and never loads another, here every device that may run the model belongs to its pool and
    loading is not seen.
    """
    return _scorers("weighted-scorers", "immediate", (queue, kv, prefix))


def weighted_scorers_late(
    queue: float = QUEUE, kv: float = KV, prefix: float = PREFIX
) -> ListPolicy:
    """Choose a replica by the weighted sum of three scores anew until the call starts.

    Source: as `weighted_scorers`. Rule: the same, for every ready call with every plan; a call
    may wait for a busy replica. Deviations: late binding is ours; otherwise as there.
    """
    return _scorers("weighted-scorers-late", "late", (queue, kv, prefix))
