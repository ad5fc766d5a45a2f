"""Saved KV states as files: a private folder per device, gone with it whatever happens.

The files hold the tokens of prompts. Folders lie under one root, named after the process that
made them, so that the next start finds and removes what a killed process left behind.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from fate.engines.base import EngineError, SavedState, StateKey
from fate.engines.model_cache import default_root

#: The layout that the parameters of `llamacpp_device.server_params` give a state.
CACHE_LAYOUT = "kv f16, flash_attn on, kv_unified, swa_full"
#: Field of /proc/PID/stat, counted behind the name: when the process started [ticks].
_START_FIELD = 19


def states_root() -> Path:
    """Return where the folders lie: beside the weights, `$FATE_HOME/states` or the user's cache."""
    return default_root().parent / "states"


def process_name(pid: int) -> str:
    """Return a name that no other process ever has: its id and when it started; "" if it is dead.

    Ids are used again; an id and a start time together are not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return f"{pid}-{stat.rpartition(')')[2].split()[_START_FIELD]}"


def remove_stale(root: Path) -> None:
    """Remove the folders of processes that are gone; leave everything else alone."""
    for folder in root.glob("*-*"):
        pid = folder.name.partition("-")[0]
        if pid.isdigit() and folder.name != process_name(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class StateFolder:
    """One device's saved states; `path` exists, for this user only, from `open` to `close`."""

    device: str
    root: Path
    path: Path | None = None
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def open(self) -> Path:
        """Make an empty folder, and remove what dead processes left under the root."""
        self.close()
        own = self.root / process_name(os.getpid())
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_stale(self.root)
        self.path = Path(tempfile.mkdtemp(prefix=f"{self.device}-", dir=own))
        return self.path

    def close(self) -> None:
        """Remove the folder with all it holds, and the process's own if it was the last one."""
        if self.path is None:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()
        self.path = None

    def fresh(self) -> Path:
        """Return the path of a new file."""
        if self.path is None:
            raise EngineError(f"device {self.device!r} is not open", retryable=False)
        return self.path / f"{next(self._numbers)}.kv"


def saved_state(path: Path, key: StateKey, written: int, tokens: int, seconds: float) -> SavedState:
    """Return what was saved, after a look at the file: a full disk shows only there.

    Raises:
        EngineError: the file is not what the engine says it has written; it is removed.
    """
    size = path.stat().st_size if path.exists() else 0
    if size != written or not tokens or not size:
        path.unlink(missing_ok=True)
        raise EngineError(f"saving a KV state wrote {size} bytes of {written}: is the disk full?")
    return SavedState(key=key, size_bytes=size, seconds=seconds, path=path)
