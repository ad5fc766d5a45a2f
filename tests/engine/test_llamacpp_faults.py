"""What goes wrong with a device process, one fault at a time."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest
from tests.devices import MIB, SLOW, TINY, described, device, opened, request, slots, until, words
from tests.devices import written as make

from fate.domain.catalog import Model
from fate.engines import llamacpp, llamacpp_server
from fate.engines.base import DeviceLostError, EngineError
from fate.engines.llamacpp import LlamaCppEngine
from fate.engines.llamacpp_process import DeviceChild


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A model that takes a few tenths of a second to load and a second to prefill."""
    return make(tmp_path_factory.mktemp("weights"), "slow", SLOW)


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Model, Path]:
    """A model that takes no time."""
    return make(tmp_path, "tiny", TINY)


@asynccontextmanager
async def in_time(files: list[tuple[Model, Path]]) -> AsyncGenerator[LlamaCppEngine]:
    """Open a device, for at most a minute."""
    async with asyncio.timeout(60.0), opened(files) as engine:
        yield engine


async def prefilling(engine: LlamaCppEngine) -> bool:
    """Whether sequence 1 computes a prompt."""
    slot = (await slots(engine, "slow"))[1]
    return slot["is_processing"] and 0 < slot["n_prompt_tokens_processed"] < 1000


async def decoding(engine: LlamaCppEngine) -> bool:
    """Whether sequence 1 generates."""
    slot = (await slots(engine, "slow"))[1]
    return slot["is_processing"] and slot["next_token"][0]["n_decoded"] > 2


async def loading(engine: LlamaCppEngine) -> bool:
    """Whether a load has begun and is not over; the process answers meanwhile."""
    reply = await engine.ping()
    return reply["reserved_bytes"] > 0 and not reply["models"]


PHASES = {
    "loading": (loading, 0, 0),
    "prefilling": (prefilling, 1500, 10),
    "decoding": (decoding, 10, 1500),
}


def test_ctrl_c_is_not_for_devices(tiny: tuple[Model, Path]) -> None:
    """A terminal sends it to the group in front; calls under way are stopped in order instead."""

    async def main() -> None:
        async with in_time([tiny]) as engine:
            pid = engine.pid
            assert os.getpgid(pid) == pid != os.getpgrp()

    asyncio.run(main())


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_process_is_a_lost_device_and_comes_back(
    phase: str, slow: tuple[Model, Path]
) -> None:
    """What is in flight raises; after a restart the device is empty and works."""
    reached, prompt, answer = PHASES[phase]

    async def body() -> None:
        async def lost(engine: LlamaCppEngine) -> bool:
            """Whether the process was killed in time: on a busy machine all may be over before."""
            if phase == "loading":
                work = asyncio.ensure_future(engine.load("slow"))
            else:
                await engine.load("slow")
                call = request("slow", words(prompt), max_tokens=answer, sequence=1)
                work = asyncio.ensure_future(engine.call(call))
            await until(lambda: reached(engine))
            os.kill(engine.pid, signal.SIGKILL)
            [ended] = await asyncio.gather(work, return_exceptions=True)
            if isinstance(ended, BaseException):
                assert isinstance(ended, DeviceLostError) and "d0" in str(ended)
                return True
            return False

        async with in_time([slow]) as engine:
            for _ in range(5):
                if await lost(engine):
                    break
                await engine.restart()
            else:
                pytest.fail("work went on after its process was killed")
            assert not await engine.healthy()
            with pytest.raises(DeviceLostError):
                await engine.load("slow")
            await engine.restart()
            assert (await engine.ping())["reserved_bytes"] == 0
            await engine.load("slow")
            assert (await engine.call(request("slow", words(5)))).output_tokens > 0

    asyncio.run(body())


@pytest.mark.parametrize("phase", ["prefilling", "decoding"])
def test_cancelling_frees_the_slot_before_it_returns(phase: str, slow: tuple[Model, Path]) -> None:
    """When the caller has control again, the device computes no more."""
    reached, prompt, answer = PHASES[phase]

    async def body() -> None:
        async with in_time([slow]) as engine:
            await engine.load("slow")
            call = request("slow", words(prompt), max_tokens=answer, sequence=1)
            work = asyncio.ensure_future(engine.call(call))
            await until(lambda: reached(engine))
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            assert not any(slot["is_processing"] for slot in await slots(engine, "slow"))
            await engine.unload("slow")

    asyncio.run(body())


def test_a_model_that_answers_is_not_unloaded(slow: tuple[Model, Path]) -> None:
    """Unloading under a call would hang the device, so it is refused."""

    async def body() -> None:
        async with in_time([slow]) as engine:
            await engine.load("slow")
            call = request("slow", words(10), max_tokens=1500, sequence=1)
            work = asyncio.ensure_future(engine.call(call))
            await until(lambda: decoding(engine))
            with pytest.raises(EngineError, match="answering"):
                await engine.unload("slow")
            with pytest.raises(EngineError, match="idle cache slot"):
                await engine.call(call)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    asyncio.run(body())


def test_a_stuck_device_is_killed_when_a_call_is_cancelled(
    slow: tuple[Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that stands still is unhealthy; cancelling does not wait for it for ever."""
    monkeypatch.setattr(llamacpp_server, "DRAIN_TIMEOUT_S", 0.3)
    monkeypatch.setattr(llamacpp, "HEALTH_TIMEOUT_S", 0.1)

    async def body() -> None:
        async with in_time([slow]) as engine:
            await engine.load("slow")
            work = asyncio.ensure_future(engine.call(request("slow", words(1500), sequence=1)))
            await until(lambda: prefilling(engine))
            os.kill(engine.pid, signal.SIGSTOP)
            assert not await engine.healthy()
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            with pytest.raises(DeviceLostError):
                await engine.call(request("slow", words(5)))
            await engine.restart()
            assert await engine.healthy()

    asyncio.run(body())


def test_unloading_right_after_loading_does_not_hang(tiny: tuple[Model, Path]) -> None:
    """The server's main loop runs before a load counts as done."""

    async def body() -> None:
        async with in_time([tiny]) as engine:
            for _ in range(20):
                await engine.load("tiny")
                await engine.unload("tiny")

    asyncio.run(body())


def test_a_cancelled_load_goes_on_and_counts(slow: tuple[Model, Path]) -> None:
    """Who stops waiting for a load does not make the device forget it."""

    async def body() -> None:
        async with in_time([slow]) as engine:
            work = asyncio.ensure_future(engine.load("slow"))
            await until(lambda: loading(engine))
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

            async def loaded() -> bool:
                with contextlib.suppress(EngineError):
                    return bool(engine.endpoint("slow"))
                return False

            await until(loaded)
            assert (await engine.call(request("slow", words(5)))).output_tokens > 0

    asyncio.run(body())


def test_the_device_process_refuses_what_exceeds_its_budget(
    tiny: tuple[Model, Path], tmp_path: Path
) -> None:
    """The budget is enforced by the process itself, whatever the parent believes."""
    model, path = tiny

    async def body() -> None:
        child = DeviceChild(device(memory_bytes=10 * MIB), tmp_path / "log")
        await child.start()
        ask = {"path": str(path), "context_tokens": 512, "sequences": 1, "embed": False}
        ask["states"] = str(tmp_path)
        with pytest.raises(EngineError, match="needs 11 MiB, but 0 of the declared 10 MiB"):
            await child.request("load", model="a", reserved_bytes=11 * MIB, **ask)
        await child.request("load", model="a", reserved_bytes=6 * MIB, **ask)
        with pytest.raises(EngineError, match="6 of the declared 10 MiB are taken"):
            await child.request("load", model="b", reserved_bytes=6 * MIB, **ask)
        await child.request("unload", model="a")
        await child.request("load", model="b", reserved_bytes=6 * MIB, **ask)
        await child.quit()

    assert model.footprint_bytes > 0
    asyncio.run(body())


def test_a_truncated_file_is_one_clear_line(tiny: tuple[Model, Path]) -> None:
    """It is refused by its header; the device lives on."""
    model, path = tiny
    whole = path.read_bytes()

    async def body() -> None:
        async with in_time([(model, path)]) as engine:
            path.write_bytes(whole[: len(whole) // 2])
            with pytest.raises(EngineError, match=r"truncated.*fate models rm") as error:
                await engine.load("tiny")
            assert "\n" not in str(error.value) and not error.value.retryable
            path.write_bytes(whole)
            await engine.load("tiny")

    asyncio.run(body())


def test_a_file_the_engine_cannot_load_is_an_error_with_its_log(
    tiny: tuple[Model, Path],
) -> None:
    """Only llama.cpp knows some defects; its own words are quoted and the memory is free again."""
    model, path = tiny
    path.write_bytes(path.read_bytes().replace(b"blk.1.attn_q.weight", b"blk.1.attn_x.weight"))

    async def body() -> None:
        async with in_time([(model, path)]) as engine:
            with pytest.raises(EngineError, match=r"engine log: .*attn_q") as error:
                await engine.load("tiny")
            assert "\n" not in str(error.value)
            assert (await engine.ping())["reserved_bytes"] == 0

    asyncio.run(body())


def test_a_killed_parent_leaves_no_process_behind(tiny: tuple[Model, Path]) -> None:
    """The device ends with its parent, also when that gets no chance to say goodbye."""
    _, path = tiny
    script = f"""
import asyncio, pathlib, sys
from tests.devices import described, opened
async def main():
    path = pathlib.Path({str(path)!r})
    async with opened([(described(path), path)]) as engine:
        await engine.load("tiny")
        print(engine.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert gone and not alive


def test_a_device_process_is_private_pinned_and_light(tiny: tuple[Model, Path]) -> None:
    """Its key is on no command line, strangers are refused, and it imports no numpy."""

    async def body() -> None:
        core = min(os.sched_getaffinity(0))
        async with opened([tiny], device(cores=(core,))) as engine:
            await engine.load("tiny")
            address, key = engine.endpoint("tiny")
            process = psutil.Process(engine.pid)
            assert process.cpu_affinity() == [core]
            assert not any(key in word for word in process.cmdline())
            assert key not in json.dumps(process.environ())
            assert not any("numpy" in mapped.path for mapped in process.memory_maps())
            assert address.startswith("http://127.0.0.1:")
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{address}/completion", json={"prompt": "a"}) as response,
            ):
                assert response.status == 401

    asyncio.run(body())


def test_declared_and_real_memory_agree(slow: tuple[Model, Path]) -> None:
    """Weights lie in the process's own memory: what is declared is what it grows by."""

    async def body() -> None:
        async with in_time([slow]) as engine:
            result = await engine.load("slow")
            grown = result.rss_after_bytes - result.rss_before_bytes
            assert 0.7 < grown / slow[0].footprint_bytes < 1.2
            assert (await engine.ping())["rss_bytes"] >= grown

    asyncio.run(body())


def test_parts_keep_their_tokens_wherever_they_stand(tiny: tuple[Model, Path]) -> None:
    """Counts per part add up, and special words in texts stay plain text."""

    async def body() -> None:
        async with in_time([tiny]) as engine:
            await engine.load("tiny")
            head, tail = words(12), " the <|end|> of it"
            alone = await engine.call(request("tiny", tail, chat=False))
            both = await engine.call(request("tiny", head, tail, chat=False))
            assert both.part_tokens == (12, alone.prompt_tokens)
            assert alone.prompt_tokens > 10

    asyncio.run(body())


def test_a_model_without_a_chat_template_gets_plain_text(tmp_path: Path) -> None:
    """Base models are prompted with the texts alone, roles set apart by an empty line."""
    _, path = make(tmp_path, "base", TINY)
    path.write_bytes(
        path.read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_nothing_")
    )
    model = described(path)

    async def body() -> None:
        async with in_time([(model, path)]) as engine:
            await engine.load("base")
            chat = await engine.call(request("base", words(12)))
            raw = await engine.call(request("base", words(12), chat=False))
            assert chat.prompt_tokens == raw.prompt_tokens == 12

    asyncio.run(body())


def test_answers_follow_a_schema(tiny: tuple[Model, Path]) -> None:
    """Even random weights answer what the schema allows."""
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}

    async def body() -> None:
        async with in_time([tiny]) as engine:
            await engine.load("tiny")
            call = request("tiny", words(12), max_tokens=200, schema=schema)
            assert json.loads((await engine.call(call)).text)["n"] in (1, 2)

    asyncio.run(body())


def test_a_prompt_goes_on_from_an_answer_as_it_was_written(tiny: tuple[Model, Path]) -> None:
    """An answer is not cut anew: what follows it finds all of it in the cache."""

    async def body() -> None:
        async with in_time([tiny]) as engine:
            await engine.load("tiny")
            asked = request("tiny", words(40), max_tokens=24, chat=False, exact_tokens=True)
            answer = await engine.call(asked)
            on = (words(40), answer.text, words(8))
            further = await engine.call(request("tiny", *on, chat=False))
            assert further.part_tokens == (40, 24, 8)
            assert further.cached_tokens >= 63  # the last token is written, not computed

    asyncio.run(body())
