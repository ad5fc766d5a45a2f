"""The path table agrees with the definition of a shared prefix."""

from hypothesis import given
from hypothesis import strategies as st

from fate.core.paths import DEPTH, EMPTY, PathTable
from fate.domain.graph import Path, Segment, shared_tokens

PATHS = st.lists(st.sampled_from("abcd"), max_size=6).map(
    lambda keys: tuple(Segment(key, 10 + ord(key)) for key in keys)
)


@given(prompts=st.lists(PATHS, max_size=8), contents=st.lists(PATHS, max_size=80))
def test_hits_are_shared_tokens(prompts: list[Path], contents: list[Path]) -> None:
    """By array comparison as by walking along both paths; also after the table has grown."""
    table = PathTable()
    rows = [table.row("m", path) for path in contents]
    hits = table.hits([table.row("m", path) for path in prompts], rows)
    assert hits.shape == (len(prompts), len(contents))
    for i, prompt in enumerate(prompts):
        for j, content in enumerate(contents):
            assert hits[i, j] == shared_tokens(prompt, content)


def test_equal_paths_share_a_row() -> None:
    """Rows are by key; the empty path has one from the start."""
    table = PathTable()
    assert table.row("m", ()) == EMPTY
    assert table.row("m", (Segment("a", 1),)) == table.row("m", (Segment("a", 1),)) != EMPTY


def test_the_table_grows() -> None:
    """A thousand different prompts with one head."""
    table = PathTable()
    rows = [table.row("m", (Segment("head", 7), Segment(str(i), 3))) for i in range(1000)]
    hits = table.hits(rows[-1:], rows)
    assert hits[0, :-1].tolist() == [7] * 999
    assert hits[0, -1] == 10


def test_what_lies_deep_is_not_counted() -> None:
    """Beyond `DEPTH` segments a hit is worth no column."""
    table = PathTable()
    long = tuple(Segment(str(k), 1) for k in range(DEPTH + 5))
    row = table.row("m", long)
    assert table.hits([row], [row])[0, 0] == DEPTH
