"""Saved KV states on a real device: whose files they are, and that none is left behind."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.devices import TINY, described, device, request, words, written

from fate.domain.catalog import Model
from fate.domain.messages import Move
from fate.drivers.states import States
from fate.engines.base import EngineError
from fate.engines.gguf_synthetic import synthetic
from fate.engines.llamacpp import LlamaCppEngine
from fate.engines.llamacpp_states import StateFolder, process_name

pytestmark = pytest.mark.engine


@asynccontextmanager
async def engine_with(
    files: list[tuple[Model, Path]], states: Path
) -> AsyncGenerator[LlamaCppEngine]:
    """Open a device that keeps its states under a folder, for at most a minute."""
    sources = {model.id: str(path) for model, path in files}
    engine = LlamaCppEngine(
        device(), tuple(model for model, _ in files), sources, states_dir=states
    )
    async with asyncio.timeout(60.0):
        await engine.open()
        try:
            yield engine
        finally:
            await engine.close()


def files_under(folder: Path) -> list[Path]:
    """Return all files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def mode(path: Path) -> int:
    """Return a path's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_states_are_private_and_gone_after_use(tmp_path: Path) -> None:
    """Nobody else may read them; a restore, a restart and the end of the device remove them."""

    async def main() -> None:
        files = [written(tmp_path, "tiny", TINY)]
        async with engine_with(files, tmp_path / "states") as engine:
            states = States({"d0": engine})
            await engine.load("tiny")
            await engine.call(request("tiny", words(40), sequence=1))
            assert await states.park("d0", "tiny", [1]) >= (0.0, ())
            (file,) = files_under(tmp_path / "states")
            assert mode(file) == 0o600 and mode(file.parent) == 0o700
            await engine.unload("tiny")
            await engine.load("tiny")
            assert (await states.restore("d0", "tiny", [1, 3]))[1] == (3,)
            assert files_under(tmp_path / "states") == []
            again = await engine.call(request("tiny", words(40), sequence=1))
            assert again.cached_tokens == again.prompt_tokens - 1
            await states.park("d0", "tiny", [1])
            await engine.restart()
            assert files_under(tmp_path / "states") == []
            await engine.load("tiny")
            await engine.call(request("tiny", words(40), sequence=1))
            await states.park("d0", "tiny", [1])
            assert files_under(tmp_path / "states")
        assert list((tmp_path / "states").iterdir()) == []

    asyncio.run(main())


def test_another_quantisation_of_the_same_model_is_refused(tmp_path: Path) -> None:
    """llama.cpp itself takes such a state without a word: same shapes, other numbers."""

    async def main() -> None:
        files = [written(tmp_path, "plain", TINY), written(tmp_path, "other", TINY)]
        async with engine_with(files, tmp_path / "states") as engine:
            await engine.load("plain")
            await engine.load("other")
            await engine.call(request("plain", words(40), sequence=0))
            state = await engine.save("plain", 0)
            with pytest.raises(EngineError, match="other weights"):
                await engine.restore("other", 0, state)
            assert (await engine.restore("plain", 1, state)) > 0.0

    asyncio.run(main())


def test_a_state_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as missing, and the run goes on."""

    async def main() -> None:
        files = [written(tmp_path, "tiny", TINY)]
        async with engine_with(files, tmp_path / "states") as engine:
            states = States({"d0": engine})
            await engine.load("tiny")
            await engine.call(request("tiny", words(40), sequence=0))
            fresh = StateFolder.fresh

            def full(folder: StateFolder) -> Path:
                """A file on a disk without room: a link of ours, since it is removed."""
                path = fresh(folder)
                path.symlink_to("/dev/full")
                return path

            monkeypatch.setattr(StateFolder, "fresh", full)
            assert (await states.park("d0", "tiny", [0, 1]))[1] == (0, 1)
            monkeypatch.undo()
            assert files_under(tmp_path / "states") == []
            assert (await engine.call(request("tiny", words(40), sequence=0))).cached_tokens > 0

    asyncio.run(main())


def test_a_state_moves_at_the_speed_of_its_link(tmp_path: Path) -> None:
    """Saved on one device, copied, restored on another; both ends are clean afterwards."""

    async def main() -> None:
        files = [written(tmp_path, "tiny", TINY)]
        async with (
            engine_with(files, tmp_path / "one") as one,
            engine_with(files, tmp_path / "two") as two,
        ):
            states = States({"d0": one, "d1": two})
            await one.load("tiny")
            await two.load("tiny")
            prompt = words(200)
            first = await one.call(request("tiny", prompt, sequence=1))
            move = Move(
                activity=1,
                device="d1",
                model="tiny",
                source="d0",
                source_sequence=1,
                path=(),
                sequence=2,
                bytes_per_s=1e6,
                latency_s=0.05,
            )
            seconds, size_bytes = await states.move(move)
            assert seconds >= 0.05 + size_bytes / 1e6 and size_bytes > 10_000
            assert files_under(tmp_path / "one") == files_under(tmp_path / "two") == []
            moved = await two.call(request("tiny", prompt, sequence=2))
            assert first.cached_tokens == 0
            assert moved.cached_tokens == moved.prompt_tokens - 1
            await one.close()
            with pytest.raises(EngineError, match="source"):
                await states.move(move)
            assert await two.healthy()

    asyncio.run(main())


def test_a_sequence_is_copied_into_another(tmp_path: Path) -> None:
    """Both then hold the prompt, and no file is left."""

    async def main() -> None:
        files = [written(tmp_path, "tiny", TINY)]
        async with engine_with(files, tmp_path / "states") as engine:
            states = States({"d0": engine})
            await engine.load("tiny")
            prompt = words(200)
            await engine.call(request("tiny", prompt, sequence=1))
            copy = Move(
                activity=1,
                device="d0",
                model="tiny",
                source="d0",
                source_sequence=1,
                path=(),
                sequence=2,
                bytes_per_s=0.0,
            )
            seconds, carried = await states.move(copy)
            assert seconds > 0.0 and carried == 0
            assert files_under(tmp_path / "states") == []
            for sequence in (2, 1):
                again = await engine.call(request("tiny", prompt, sequence=sequence))
                assert again.cached_tokens == again.prompt_tokens - 1

    asyncio.run(main())


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.devices import described, device, request, words
from fate.engines.llamacpp import LlamaCppEngine

async def main(file, states):
    model = described(file)
    engine = LlamaCppEngine(device(), (model,), {model.id: str(file)}, states_dir=states)
    await engine.open()
    await engine.load(model.id)
    await engine.call(request(model.id, words(40), sequence=0))
    await engine.save(model.id, 0)
    print("saved", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_what_a_killed_process_left_is_gone_after_the_next_start(tmp_path: Path) -> None:
    """Kill -9 between a save and its restore; folders of processes that live stay."""
    states, file = tmp_path / "states", tmp_path / "tiny.gguf"
    synthetic(file, TINY)
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(file), str(states)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert child.stdout is not None and child.stdout.readline() == b"saved\n"
    mine = states / process_name(os.getpid())
    mine.mkdir()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert files_under(states)
    folder = StateFolder("d1", states)
    folder.open()
    assert files_under(states) == [] and [path.name for path in states.iterdir()] == [mine.name]
    folder.close()
    assert described(file).id == "tiny" and list(states.iterdir()) == []
