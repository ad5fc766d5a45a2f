"""What a measurement was taken on: it is part of the result."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import psutil

import fate

#: Distributions whose versions change what is measured.
_DISTRIBUTIONS = ("numpy", "numba", "ortools", "msgspec", "xllamacpp")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where, when and with what a suite ran.

    Attributes:
        commit: of the source tree, with `-dirty` behind it if files differ from it; empty when
            fate is not run from its source tree.
        load_before: how many processes wanted a core in the minute before.
        versions: of the packages that matter, by name.
    """

    started_at: str
    fate: str
    commit: str
    python: str
    system: str
    processor: str
    cores: int
    memory_bytes: int
    load_before: float
    versions: dict[str, str]

    @property
    def hardware(self) -> str:
        """The processor and how many cores there are: what times depend on."""
        return f"{self.processor}, {self.cores} cores"


def this_machine() -> Machine:
    """Describe the machine and the software."""
    return Machine(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        fate=fate.__version__,
        commit=commit(),
        python=platform.python_version(),
        system=platform.platform(),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        load_before=os.getloadavg()[0],
        versions={name: found for name in _DISTRIBUTIONS if (found := _version(name))},
    )


def commit() -> str:
    """Return the commit of the source tree this module is part of; empty outside of one."""
    source = Path(__file__)
    tracked = _git(source, "ls-files", "--error-unmatch", source.name)
    return _git(source, "describe", "--always", "--dirty", "--abbrev=12") if tracked else ""


def _git(source: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(source.parent), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
