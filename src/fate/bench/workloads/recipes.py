"""WfCommons recipes: synthetic instances that resemble real ones of nine applications.

Coleman et al. 2022, "WfCommons: A framework for enabling scientific workflow research and
development", https://doi.org/10.1016/j.future.2021.09.043.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from platformdirs import user_cache_path

from fate.bench.workloads.wfformat import Instance, read_instance
from fate.domain.errors import FateError

#: Application -> (class in wfcommons, least number of tasks it can make). The tenth recipe,
#: Rnaseq, is left out: its instances have no files and hardly any run time.
RECIPES: dict[str, tuple[str, int]] = {
    "blast": ("BlastRecipe", 45),
    "bwa": ("BwaRecipe", 106),
    "cycles": ("CyclesRecipe", 69),
    "epigenomics": ("EpigenomicsRecipe", 43),
    "genome": ("GenomeRecipe", 54),
    "montage": ("MontageRecipe", 60),
    "seismology": ("SeismologyRecipe", 103),
    "soykb": ("SoykbRecipe", 98),
    "srasearch": ("SrasearchRecipe", 24),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An instance to generate: an application, at most `tasks` tasks (or its least), a seed."""

    application: str
    tasks: int
    seed: int

    @property
    def size(self) -> int:
        """The number of tasks asked of wfcommons."""
        return max(self.tasks, RECIPES[self.application][1])


def instances(wanted: Sequence[Wanted], folder: Path | None = None) -> list[Instance]:
    """Return instances, generating those that were not generated before.

    Args:
        wanted: what to return, in this order.
        folder: where instances are kept; None means the user's cache.

    Raises:
        FateError: wfcommons is not installed, or cannot make an instance.
    """
    place = folder if folder is not None else _cache()
    paths = [_path(place, each) for each in wanted]
    missing = {
        str(path): [RECIPES[each.application][0], each.size, each.seed, str(path)]
        for each, path in zip(wanted, paths, strict=True)
        if not path.is_file()
    }
    if missing:
        place.mkdir(parents=True, exist_ok=True)
        _generate(list(missing.values()))
    return [read_instance(path, each.application) for each, path in zip(wanted, paths, strict=True)]


def _generate(requests: Sequence[list[str | int]]) -> None:
    done = subprocess.run(  # our own module
        [sys.executable, "-m", "fate.bench.workloads.generate"],
        input=json.dumps(requests),
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise FateError(f"wfcommons: generating an instance failed: {last[0]}")


def _path(folder: Path, wanted: Wanted) -> Path:
    return folder / f"{wanted.application}-{wanted.size}-{wanted.seed}.json"


def _cache() -> Path:
    """Return the folder for what the installed version of wfcommons makes."""
    try:
        version = metadata.version("wfcommons")
    except metadata.PackageNotFoundError:
        raise FateError(
            "generated instances need the package wfcommons: `make setup` in a clone or "
            "pip install 'fate-workflows[bench]' adds it; or give real ones with --instances DIR"
        ) from None
    home = os.environ.get("FATE_HOME")
    return (Path(home) if home else user_cache_path("fate")) / "wfcommons" / version
