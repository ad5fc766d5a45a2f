"""The truth behind the simulator: durations, caches, lengths, failures, transfers."""

import pytest
from msgspec.structs import replace
from tests.graphs import cluster, llm, map_reduce, profile

from fate.cost.profile import Profile
from fate.domain.catalog import Cluster, Link
from fate.domain.graph import Chunk, Graph, Segment
from fate.domain.messages import Call, Done, Expand, Failed, ItemDone, Load, Move, Warm
from fate.drivers.declared import declared_expansion
from fate.drivers.world import Physics, Truth, World

HEAD, A, B = Segment("head", 100), Segment("a", 10), Segment("b", 20)
ANSWER = Segment("out", 32)


def physics(*, seed: int = 0, noise: float = 0.0, length_noise: float = 0.0) -> Physics:
    """Two devices with the costs of `tests.graphs`."""
    on = cluster()
    truth = Truth(profile=profile(on), noise=noise, length_noise=length_noise)
    return Physics(on, truth, seed)


def test_a_sequence_holds_what_went_through_it() -> None:
    """The next prompt finds its prefix, answer included, in this sequence and no other."""
    world = physics()
    assert world.call("d0", "A", (HEAD, A), ANSWER, 0, 1).cached_tokens == 0
    assert world.call("d0", "A", (HEAD, A, ANSWER, B), Segment("x", 1), 0, 1).cached_tokens == 142
    assert world.call("d0", "A", (HEAD, B), ANSWER, 1, 1).cached_tokens == 0
    assert world.call("d0", "A", (HEAD, B), ANSWER, 0, 1).cached_tokens == 100
    assert world.call("d1", "A", (HEAD, B), ANSWER, 0, 1).cached_tokens == 0


def test_a_prompt_in_full_is_not_free() -> None:
    """Its last token is computed, or there would be nothing to go on from."""
    world = physics()
    world.call("d0", "A", (HEAD,), ANSWER, 0, 1)
    assert world.call("d0", "A", (HEAD,), ANSWER, 0, 1).cached_tokens == 99


@pytest.mark.parametrize("how", ["load_s", "unload_s"])
def test_loads_and_unloads_forget(how: str) -> None:
    """The sequences of this model on this device, and only those."""
    world = physics()
    for device, model in (("d0", "A"), ("d0", "B"), ("d1", "A")):
        world.call(device, model, (HEAD,), ANSWER, 0, 1)
    getattr(world, how)("d0", "A", "1")
    hits = [
        world.call(device, model, (HEAD, A), ANSWER, 0, 1).cached_tokens
        for device, model in (("d0", "A"), ("d0", "B"), ("d1", "A"))
    ]
    assert hits == [0, 100, 100]


def test_noise_does_not_depend_on_the_order_of_questions() -> None:
    """Two policies that ask in different orders meet the same world."""
    asked = [("d0", "A", Segment(f"o{i}", 32)) for i in range(5)]
    took: list[dict[str, float]] = []
    for order in (asked, asked[::-1]):
        world = physics(seed=5, noise=0.5)
        took.append({a.key: world.call(d, m, (HEAD,), a, -1, 1).decode_s for d, m, a in order})
    assert took[0] == took[1]
    assert len(set(took[0].values())) == 5


def test_noise_has_mean_one() -> None:
    """Or a noisy world would be a slower one."""
    world = physics(noise=0.3)
    factors = [world.factor("x", str(i)) for i in range(4000)]
    assert sum(factors) / len(factors) == pytest.approx(1.0, abs=0.02)
    assert physics().factor("x") == 1.0


def test_lengths_stay_within_their_limits() -> None:
    """At least one token, at most `max_tokens`; without noise what is declared."""
    stage = llm("w", "s0", "A")
    assert physics().length(stage, "w/s0", 0) == 32
    world = physics(length_noise=2.0)
    lengths = {world.length(stage, "w/s0", item) for item in range(500)}
    assert min(lengths) >= 1
    assert max(lengths) == 32
    free = {world.length(replace(stage, max_tokens=0), "w/s0", item) for item in range(500)}
    assert max(free) > 100


def test_calls_side_by_side_slow_each_other_down() -> None:
    """By the factor for so many; the last one known serves for more."""
    on = cluster(slots=4)
    truth = Truth(profile=replace(profile(on), slowdown={"d0": (1.0, 1.5)}))
    world = Physics(on, truth, 0)
    alone, two, four = (
        world.call("d0", "A", (HEAD,), ANSWER, -1, running).decode_s for running in (1, 2, 4)
    )
    assert two == four == pytest.approx(1.5 * alone)


def test_what_no_profile_knows_is_guessed_from_its_size() -> None:
    """A world without costs is still a world."""
    world = Physics(cluster(), Truth(profile=Profile(costs={})), 0)
    assert world.load_s("d0", "A", "1") < world.load_s("d0", "C", "2")


def started(graph: Graph, on: Cluster, truth: Truth) -> World:
    """A world in which everything is expanded."""
    world = World(on, truth, 0)
    world.arrive(graph)
    for stage in graph.stages:
        world.expand(Expand(instance=graph.instance(stage.id)))
    return world


def test_a_failure_comes_half_way() -> None:
    """Items before it stay done."""
    on = cluster()
    world = started(map_reduce("w"), on, Truth(profile=profile(on), failure_rate=1.0))
    call = Call(activity=1, device="d0", model="A", chunk=Chunk("w/notes", 0, 4), sequence=0)
    kinds = [type(event) for _, event in world.sample(call, 0.0)]
    assert kinds == [ItemDone, ItemDone, Failed]


def test_a_copy_takes_no_link() -> None:
    """Saved and restored in 5 ms and 1 ns a byte; both sequences hold it then."""
    on = cluster(park_bytes=1 << 20)
    world = World(on, Truth(profile=profile(on)), 0)
    world.physics.fill("d0", "A", 0, (HEAD, A))
    copy = Move(
        activity=1,
        device="d0",
        model="A",
        source="d0",
        source_sequence=0,
        path=(HEAD, A),
        sequence=1,
        bytes_per_s=0.0,
    )
    ((at_s, done),) = world.sample(copy, 2.0)
    assert isinstance(done, Done) and done.moved_bytes == 0
    assert at_s == pytest.approx(2.0 + 0.005 + 110 * 100 * 1e-9)
    for sequence in (0, 1):
        assert world.physics.call("d0", "A", (HEAD, B), ANSWER, sequence, 1).cached_tokens == 100


def test_outputs_travel_over_links() -> None:
    """Declared bytes from where the parent ran; on the same device for free."""
    on = cluster()
    links = (Link(source="d0", target="d1", bytes_per_s=1e6, latency_s=0.5),)
    on = replace(on, links=links)
    stages = (replace(llm("w", "a", "A"), output_bytes=2_000_000), llm("w", "b", "A", ["a"]))
    ends: dict[str, float] = {}
    for device in ("d0", "d1"):
        world = started(Graph(id="w", stages=stages), on, Truth(profile=profile(on)))
        world.sample(Call(activity=1, device="d0", model="A", chunk=Chunk("w/a", 0, 1)), 0.0)
        call = Call(activity=2, device=device, model="A", chunk=Chunk("w/b", 0, 1))
        ends[device] = world.sample(call, 100.0)[-1][0]
    assert ends["d1"] - ends["d0"] == pytest.approx(2.5)


def test_loads_take_what_the_profile_says() -> None:
    """And say so."""
    on = cluster()
    world = started(map_reduce("w"), on, Truth(profile=profile(on)))
    load = Load(activity=1, device="d0", model="B")
    assert world.sample(load, 10.0) == [(10.45, Done(activity=1, seconds=0.45))]


def test_activities_nobody_offers_fail_for_good() -> None:
    """This world has no warming; a retry would find none either."""
    on = cluster()
    world = started(map_reduce("w"), on, Truth(profile=profile(on)))
    warm = Warm(activity=1, device="d0", model="A", path=(), sequence=0)
    ((at_s, event),) = world.sample(warm, 3.0)
    assert at_s == 3.0
    assert isinstance(event, Failed) and not event.retryable


def test_items_of_a_map_differ_behind_the_head() -> None:
    """The head is what stands before the first segment of the item."""
    notes = map_reduce("w", items=2).stages[1]
    after = replace(notes, prompt=(*notes.prompt, Segment("question", 5)))
    expanded = declared_expansion("w/notes", after)
    assert [s.key for s in expanded.head] == ["system-A"]
    assert [[s.key for s in tail] for tail in expanded.tails] == [
        ["item:w#0", "question"],
        ["item:w#1", "question"],
    ]
    assert declared_expansion("w/x", llm("w", "x", "A")).tails == ((),)
