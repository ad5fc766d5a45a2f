"""Graphs refuse nonsense at birth; prefixes are shared by key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fate.domain.errors import GraphError
from fate.domain.graph import Chunk, Graph, Path, Segment, Stage, path_tokens, shared_tokens


def tool(name: str, *parents: str) -> Stage:
    """A stage of which only the edges matter."""
    return Stage(id=name, kind="tool", parents=parents)


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        ((tool("a"), tool("a")), "stage 'a' appears twice"),
        ((tool("a", "b"), tool("b")), "stage 'a' comes before its parent 'b'"),
        ((tool("a", "a"),), "stage 'a' comes before its parent 'a'"),
        ((tool("a", "ghost"),), "stage 'a' comes before its parent 'ghost'"),
        ((tool("a", "b"), tool("b", "a")), "stage 'a' comes before its parent 'b'"),
    ],
)
def test_what_is_no_dag_in_order_is_refused(stages: tuple[Stage, ...], problem: str) -> None:
    """Twice, before its parent, its own parent, unknown, a cycle."""
    with pytest.raises(GraphError) as caught:
        Graph(id="w", stages=stages)
    assert str(caught.value) == f"workflow 'w': {problem}"


def test_chunks_are_named_for_people() -> None:
    """A stage that is no map goes by its instance alone."""
    assert str(Chunk("w/notes", 0, 1)) == "w/notes"
    assert str(Chunk("w/notes", 1, 2)) == "w/notes[1:2]"
    assert str(Chunk("w/notes", 0, 4)) == "w/notes[0:4]"


def path(*keys: str) -> Path:
    """Ten tokens a segment."""
    return tuple(Segment(key, 10) for key in keys)


def test_a_prefix_ends_where_keys_differ() -> None:
    """What agrees again behind a difference is not shared."""
    assert shared_tokens(path("a", "b", "c"), path("a", "b", "d")) == 20
    assert shared_tokens(path("a", "x", "c"), path("a", "b", "c")) == 10
    assert shared_tokens(path("b"), path("a", "b")) == 0
    assert shared_tokens((), path("a")) == shared_tokens(path("a"), ()) == 0


@given(left=st.text("ab", max_size=5), right=st.text("ab", max_size=5))
def test_sharing_is_bounded_and_symmetric(left: str, right: str) -> None:
    """Never more than either prompt has."""
    one, other = path(*left), path(*right)
    shared = shared_tokens(one, other)
    assert shared == shared_tokens(other, one) <= min(path_tokens(one), path_tokens(other))
    assert (shared == path_tokens(one)) == right.startswith(left)
