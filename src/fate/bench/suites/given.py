"""Own data in place of ours: a file or folder that `--instances`, `--graphs` or `--trace` names."""

from hashlib import blake2b
from pathlib import Path

import msgspec


class Given(msgspec.Struct, frozen=True):
    """Where data lie, and a digest of what they are: rows hold only for what was read then."""

    path: str
    digest: str

    @property
    def where(self) -> Path:
        """The file or folder."""
        return Path(self.path)


def given(path: Path) -> Given:
    """Return a file with its digest, or a folder with that of the JSON files below it."""
    digest = blake2b(digest_size=6)
    for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
        digest.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return Given(str(path), digest.hexdigest())
