"""Which seeds a suite runs: those for development, those nobody can have tuned on, or a list."""

import re
from hashlib import blake2b

from fate.domain.errors import FateError

#: Seeds that everything tunable was tuned on, and that comparison baselines were chosen on.
DEV = (0, 1, 2, 3)
#: Test seeds are above every seed a person would name.
_TEST_FROM, _TEST_COUNT = 1_000_000, 999_000_000
_PART = re.compile(r"(\d+)(?:-(\d+))?")
_MOST = 1000


def read_seeds(text: str, commit: str, count: int | None = None) -> list[int]:
    """Return the seeds that `--seeds` names.

    Args:
        text: `dev`, `test`, or a list such as `0,3,900-902`.
        commit: what is measured; test seeds depend on it, so that nobody knew them before.
        count: how many development or test seeds; None means all development seeds' number.

    Raises:
        FateError: it is none of these, or test seeds are wanted of sources that are no commit.
    """
    number = len(DEV) if count is None else count
    if text == "dev":
        return list(DEV[:number])
    if text == "test":
        return test_seeds(commit, number)
    return _listed(text)


def test_seeds(commit: str, count: int) -> list[int]:
    """Return the first seeds of a commit.

    Raises:
        FateError: the sources are no commit.
    """
    if not commit or commit.endswith("-dirty"):
        what = "files that differ from it" if commit else "no commit"
        raise FateError(
            f"--seeds test: test seeds come from the measured commit's hash, but this tree has "
            f"{what}; commit first, or name seeds: --seeds 900-903"
        )
    return [
        _TEST_FROM
        + int.from_bytes(blake2b(f"{commit}/{i}".encode(), digest_size=8).digest()) % _TEST_COUNT
        for i in range(count)
    ]


def _listed(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise FateError(
                f"--seeds {text!r}: {part.strip()!r} is no seed; write dev, test, or a list such "
                "as 0,3,900-902"
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if not first <= last < first + _MOST:
            raise FateError(f"--seeds {text!r}: {part.strip()!r} is no range of 1 to {_MOST} seeds")
        found.extend(range(first, last + 1))
    return list(dict.fromkeys(found))
