"""Seeds: what `--seeds` may say."""

import pytest

from fate.bench.suites.seeds import DEV, read_seeds
from fate.domain.errors import FateError


def test_lists_and_ranges() -> None:
    """In the order written, each once."""
    assert read_seeds("0,3,900-902,3", "") == [0, 3, 900, 901, 902]
    assert read_seeds("dev", "") == list(DEV)
    assert read_seeds("dev", "", 2) == list(DEV[:2])


def test_test_seeds_belong_to_the_commit() -> None:
    """The same commit gives the same seeds, another one others, and none is a development seed."""
    mine, other = read_seeds("test", "abc123", 4), read_seeds("test", "abc124", 4)
    assert mine == read_seeds("test", "abc123", 4)
    assert not set(mine) & set(other)
    assert len(set(mine)) == 4
    assert not set(mine) & set(DEV)
    assert read_seeds("test", "abc123", 2) == mine[:2]


@pytest.mark.parametrize("commit", ["", "abc123-dirty"])
def test_test_seeds_need_a_commit(commit: str) -> None:
    """Without one, seeds could be tried until they please."""
    with pytest.raises(FateError, match=r"--seeds test: .* commit first"):
        read_seeds("test", commit)


@pytest.mark.parametrize("text", ["", "x", "1,,2", "5-3", "0-5000", "-1"])
def test_nonsense_is_refused(text: str) -> None:
    """The message names the part and shows what is right."""
    with pytest.raises(FateError, match="--seeds"):
        read_seeds(text, "")
