"""Where runs are kept: one directory each, found again by id, prefix, path or `last`."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import platformdirs

from fate.store.database import StoreError

#: Name of the run file inside a run's directory.
RUN_FILE = "run.sqlite"


def default_root() -> Path:
    """Return where runs are kept: `$FATE_HOME/runs`, or the user's data directory."""
    home = os.environ.get("FATE_HOME")
    return (Path(home) if home else platformdirs.user_data_path("fate")) / "runs"


class RunStore:
    """The run directories under one root."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else default_root()

    def new(self, now: datetime | None = None) -> Path:
        """Create a run directory, named after the time, and return it.

        The name is the run's id. Names sort by time; two runs that begin in the same millisecond,
        in whatever processes, get different ones.
        """
        at = now if now is not None else datetime.now(UTC)
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            while True:
                path = self.root / f"{at:%Y%m%d-%H%M%S}-{at.microsecond // 1000:03d}"
                try:
                    path.mkdir(mode=0o700)
                except FileExistsError:
                    at += timedelta(milliseconds=1)
                else:
                    return path
        except OSError as error:
            raise StoreError(f"{self.root}: cannot create a run: {error.strerror}") from None

    def list(self) -> list[Path]:
        """Return the run directories that hold a run file, newest first."""
        if not self.root.is_dir():
            return []
        found = [path for path in self.root.iterdir() if (path / RUN_FILE).is_file()]
        return sorted(found, key=lambda path: path.name, reverse=True)

    def find(self, what: str) -> Path:
        """Return the run file meant by `last`, a run's id or the start of one, or a path.

        Raises:
            StoreError: no run is meant, or several are.
        """
        path = Path(what)
        if path.is_file():
            return path
        if (path / RUN_FILE).is_file():
            return path / RUN_FILE
        runs = self.list()
        if what == "last" and runs:
            return runs[0] / RUN_FILE
        matches = [run for run in runs if run.name.startswith(what)]
        if len(matches) == 1:
            return matches[0] / RUN_FILE
        if matches:
            names = ", ".join(run.name for run in matches[:3])
            raise StoreError(f"run {what!r} means any of {len(matches)} runs ({names}, ...)")
        known = f"the newest is {runs[0].name}" if runs else "there are none yet"
        raise StoreError(f"no run {what!r} in {self.root}: {known}")
