"""The ready pool: what is in the frontier, in which order."""

from hypothesis import given
from hypothesis import strategies as st

from fate.core.pool import ReadyChunk, ReadyPool, Work
from fate.domain.graph import Chunk

_WORK = Work(
    model=0,
    path=(),
    left=(),
    path_row=0,
    left_row=0,
    nodes=(),
    left_nodes=(),
    first_tokens=1.0,
    rest_tokens=0.0,
    head_tokens=0.0,
    rest_items=0.0,
    output_tokens=1.0,
)


def ready(number: int, workflow: str, urgency_s: float, max_wait_s: float = 100.0) -> ReadyChunk:
    """A chunk that became ready at second `number`."""
    return ReadyChunk(
        chunk=Chunk(f"{workflow}/s{number}", 0, 1),
        workflow=workflow,
        number=number,
        since_s=float(number),
        max_wait_s=max_wait_s,
        urgency_s=urgency_s,
        work=_WORK,
    )


ENTRIES = st.lists(
    st.tuples(st.sampled_from("abcde"), st.integers(0, 5).map(float), st.sampled_from([3.0, 1e9])),
    max_size=40,
)


def head_of(alive: list[ReadyChunk], workflow: str) -> int:
    """The number of a workflow's most urgent chunk."""
    mine = [entry for entry in alive if entry.workflow == workflow]
    return min(mine, key=lambda entry: (-entry.urgency_s, entry.number)).number


@given(entries=ENTRIES, bound=st.integers(1, 12), now_s=st.integers(0, 60), data=st.data())
def test_the_frontier(
    entries: list[tuple[str, float, float]], bound: int, now_s: int, data: st.DataObject
) -> None:
    """Bounded, in order of arrival: overdue first, every workflow's head, then the most urgent."""
    pool, alive = ReadyPool(), {n: ready(n, *entry) for n, entry in enumerate(entries)}
    for entry in alive.values():
        pool.add(entry)
    numbers = st.sampled_from(sorted(alive)) if alive else st.nothing()
    for number in data.draw(st.lists(numbers, unique=True)):
        assert pool.take(alive[number].chunk) is alive.pop(number)
    left = list(alive.values())
    frontier = [entry.number for entry in pool.frontier(bound, float(now_s))]
    assert frontier == sorted(set(frontier))
    assert len(pool) == len(left)
    assert len(frontier) == min(bound, len(left))
    overdue = {entry.number for entry in left if entry.overdue_at_s <= now_s}
    assert {entry.number for entry in pool.overdue(float(now_s))} == overdue
    heads = {head_of(left, workflow) for workflow in {entry.workflow for entry in left}}
    if len(overdue | heads) <= bound - len(heads):
        assert overdue | heads <= set(frontier)
        others = [alive[n].urgency_s for n in frontier if n not in overdue | heads]
        outside = [entry.urgency_s for entry in left if entry.number not in frontier]
        assert not others or not outside or min(others) >= max(outside)
    else:
        assert overdue <= set(frontier) or set(frontier) <= overdue


def test_the_next_alarm_is_for_what_is_not_overdue_yet() -> None:
    """Overdue chunks need no alarm, they are looked at in every step."""
    pool = ReadyPool()
    pool.add(ready(0, "a", 1.0, max_wait_s=5.0))
    pool.add(ready(1, "a", 1.0, max_wait_s=9.0))
    assert pool.next_overdue_s(0.0) == 5.0
    assert pool.next_overdue_s(5.0) == 10.0
    assert pool.next_overdue_s(10.0) == float("inf")
    assert [entry.number for entry in pool.overdue(10.0)] == [0, 1]


def test_a_workflow_is_dropped_as_a_whole() -> None:
    """Nothing of it is left, nothing else is touched."""
    pool = ReadyPool()
    for number, name in enumerate("abab"):
        pool.add(ready(number, name, 1.0))
    pool.drop_workflow("a")
    pool.drop_workflow("nobody")
    assert [entry.number for entry in pool] == [1, 3]
    assert [entry.number for entry in pool.frontier(9, 0.0)] == [1, 3]


def test_with_too_many_workflows_the_first_are_served_first() -> None:
    """A frontier smaller than the number of workflows holds heads in order of their arrival."""
    pool = ReadyPool()
    for number in range(9):
        pool.add(ready(number, "abc"[number % 3], 1.0))
    assert [entry.workflow for entry in pool.frontier(2, 0.0)] == ["a", "b"]
