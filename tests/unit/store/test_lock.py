"""One writer for each run."""

import subprocess
import sys
from pathlib import Path

import pytest

from fate.store import lock
from fate.store.database import StoreError


def test_only_one_writes_a_run(tmp_path: Path) -> None:
    """The second one is told who does; asking disturbs nobody."""
    path = tmp_path / "r1" / "run.sqlite"
    path.parent.mkdir()
    assert not lock.is_held(path)
    held = lock.acquire(path)
    assert lock.is_held(path)
    with pytest.raises(StoreError, match=f"r1: this run is going on in process {lock.owner(path)}"):
        lock.acquire(path)
    lock.release(held)
    assert not lock.is_held(path)
    lock.release(lock.acquire(path))


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    """Also when the process is killed, and although a child of it lives on."""
    path = tmp_path / "run.sqlite"
    code = (
        "import os, signal, subprocess, sys\nfrom pathlib import Path\n"
        "from fate.store import lock\n"
        "lock.acquire(Path(sys.argv[1]))\n"
        "child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, lock.is_held(Path(sys.argv[1])), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=20,
    )
    pid, held = done.stdout.split()
    try:
        assert held == "True"
        assert not lock.is_held(path)
    finally:
        subprocess.run(["kill", pid], check=True)


@pytest.mark.parametrize(("room", "said"), [(0, "cannot lock the run"), (20_000, "cannot create")])
def test_a_disk_that_is_full_from_the_start_is_one_line(
    tmp_path: Path, room: int, said: str
) -> None:
    """Nothing is left that looks like a run; files may not grow beyond `room` bytes."""
    code = (
        "import resource, sys; from pathlib import Path; from fate.store import lock, database\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "path = Path(sys.argv[1])\n"
        "try:\n"
        "    lock.acquire(path)\n"
        "    database.create(path, [('header', b'x' * 100_000)])\n"
        "except database.StoreError as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "run.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert said in done.stdout and done.stdout.count("\n") == 1 and not done.stderr
    assert not path.exists() and not path.with_name("run.sqlite.new").exists()
