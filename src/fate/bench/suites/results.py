"""Rows of results.jsonl and times.jsonl, and which of an earlier run still hold."""

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

import fate

#: Below a suite's folder: rows that a command with --resume has no use for.
ASIDE = "aside"
RESULTS, TIMES = "results.jsonl", "times.jsonl"
R = TypeVar("R", bound=msgspec.Struct)

#: What tells runs apart: suite, cell, seed, policy.
Key: TypeAlias = tuple[str, str, int, str]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One policy on one problem: what was configured, and everything measured in virtual time.

    The same code and seed give the same row, to the last byte; wall readings are in `Times`.

    Attributes:
        code: digest of the sources that ran.
        settings: the problem's description.
        least_s: no run of the problem takes less; 0 where nothing is proved.
        latencies_s: from arrival to end of each workflow, in the order of arrivals.
        p95_s: of these latencies.
        moved_bytes: outputs fetched over links, and KV states moved.
        prefix_s: prefill of tokens that stages may share; `own_s` that of the others.
        decisions: plans that were asked for.
        searched: what these tried: projections of `foresight`, moves of `fate`.
        fallback_calls: calls started without a plan.
    """

    suite: str
    cell: str
    seed: int
    policy: str
    commit: str
    code: str
    settings: dict[str, Any]
    workflows: int
    stages: int
    makespan_s: float
    least_s: float = 0.0
    mean_s: float
    p95_s: float
    latencies_s: list[float]
    loads: int
    evictions: int
    calls: int
    prompt_tokens: int
    cached_tokens: int
    computed_tokens: int
    output_tokens: int
    moved_bytes: int
    load_s: float
    transfer_s: float
    prefix_s: float
    own_s: float
    decode_s: float
    tool_s: float
    idle_s: float
    decisions: int
    searched: int
    fallback_calls: int

    @property
    def key(self) -> Key:
        """What tells this run apart."""
        return self.suite, self.cell, self.seed, self.policy

    @property
    def problem(self) -> tuple[str, int]:
        """The problem it is about."""
        return self.cell, self.seed


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """What a run took on this machine: processor seconds of the policy, and of everything."""

    suite: str
    cell: str
    seed: int
    policy: str
    code: str
    planner_cpu_s: float
    cpu_s: float
    decisions: int

    @property
    def key(self) -> Key:
        """The run it belongs to."""
        return self.suite, self.cell, self.seed, self.policy


def read_runs(out: Path) -> list[Run]:
    """Return the rows of an earlier run, whatever code made them; what is cut off is left out."""
    return read_rows(out / RESULTS, Run)


def append(path: Path, rows: Iterable[Run] | Iterable[Times]) -> None:
    """Add rows to a file."""
    with path.open("ab") as file:
        file.writelines([msgspec.json.encode(row) + b"\n" for row in rows])


def rewrite(path: Path, rows: Sequence[msgspec.Struct]) -> None:
    """Put rows in place of a file's, all or none."""
    part = path.with_suffix(".part")
    part.write_bytes(b"".join([msgspec.json.encode(row) + b"\n" for row in rows]))
    part.replace(path)


def with_aside(out: Path, name: str, kind: type[R]) -> list[R]:
    """Return the rows of a folder's file and those that were set aside there, each once."""
    rows = [*read_rows(out / ASIDE / name, kind), *read_rows(out / name, kind)]
    return list({msgspec.json.encode(row): row for row in rows}.values())


def keep(out: Path, name: str, rows: Sequence[R], kept: Sequence[R]) -> int:
    """Leave those rows in a folder's file that are kept, and set the others aside.

    Returns:
        How many are set aside.
    """
    known = set(map(msgspec.json.encode, kept))
    left = [row for row in rows if msgspec.json.encode(row) not in known]
    if left or (out / ASIDE).is_dir():
        (out / ASIDE).mkdir(exist_ok=True)
        rewrite(out / ASIDE / name, left)  # first: what is cut short here is there twice
    rewrite(out / name, kept)
    return len(left)


@cache
def code_digest() -> str:
    """Return a digest of the sources of this package."""
    digest = blake2b(digest_size=6)
    root = Path(fate.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_rows(path: Path, kind: type[R]) -> list[R]:
    """Return a file's rows of a kind; lines that are cut off or of another kind are left out."""
    found: list[R] = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            found.append(msgspec.json.decode(line, type=kind))
        except msgspec.DecodeError:
            continue
    return found
