"""Files of what runs have learned: in the user's cache, read leniently, written whole."""

import os
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec
from platformdirs import user_cache_path

_T = TypeVar("_T", bound=msgspec.Struct)


def cache_path(name: str) -> Path:
    """Return where a file is kept: under FATE_HOME, or in the user's cache."""
    home = os.environ.get("FATE_HOME")
    return (Path(home) if home else user_cache_path("fate")) / name


def read_or_empty(path: Path, kind: type[_T]) -> _T:
    """Return what a file holds; one that cannot be read counts as empty: it is learned again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return kind()


def write_whole(path: Path, value: msgspec.Struct) -> None:
    """Replace a file in one step: readers see the old content or the new, never a part.

    Raises:
        OSError: the file cannot be written; the old one stays, and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(value), indent=1))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
