"""What every engine promises the runtime, on a fake, on llama.cpp, and on a llama.cpp server."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias
from unittest import mock

import msgspec
import pytest
from tests.devices import TINY, device, opened, parts, request, words, written

from fate.domain.catalog import Device, Model, ModelTask
from fate.engines.base import CallRequest, DeviceLostError, Engine, EngineError
from fate.engines.fake import FakeEngine
from fate.engines.openai import OpenAIEngine

KEY_VARIABLE = "FATE_TEST_KEY"


@dataclass(frozen=True)
class Case:
    """An open engine, the two models it may load, and what its device declares."""

    engine: Engine
    first: Model
    second: Model
    device: Device

    async def ready(self) -> str:
        """Have the first model loaded and return its name."""
        if self.engine.capabilities.can_load:
            await self.engine.load(self.first.id)
        return self.first.id


Kind: TypeAlias = str
Check: TypeAlias = Callable[[Case], Awaitable[None]]


@asynccontextmanager
async def opened_case(
    kind: Kind, folder: Path, task: ModelTask = "generate"
) -> AsyncGenerator[Case]:
    """Open an engine whose device holds one of two models."""
    found = [written(folder, name, TINY) for name in ("first", "second")]
    files = [(msgspec.structs.replace(model, task=task), path) for model, path in found]
    first, second = (model for model, _ in files)
    on = device(memory_bytes=first.footprint_bytes + second.footprint_bytes - 1, engine=kind)
    if kind == "fake":
        fake = FakeEngine(on, (first, second))
        await fake.open()
        yield Case(fake, first, second, on)
        await fake.close()
        return
    async with opened(files, on) as llamacpp:
        if kind == "llamacpp":
            yield Case(llamacpp, first, second, on)
            return
        await llamacpp.load("first")
        url, key = llamacpp.endpoint("first")
        remote = Device(id="r0", engine="openai", memory_bytes=0, prefix="none", managed=False)
        with mock.patch.dict(os.environ, {KEY_VARIABLE: key}):
            engine = OpenAIEngine(
                remote,
                (first,),
                {"first": "first"},
                base_url=f"{url}/v1",
                api_key_env=KEY_VARIABLE,
            )
        await engine.open()
        yield Case(engine, first, second, remote)
        await engine.close()


KINDS = [
    "fake",
    pytest.param("llamacpp", marks=pytest.mark.engine),
    pytest.param("openai", marks=pytest.mark.engine),
]


@pytest.fixture(params=KINDS)
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Check], None]:
    """Run a check on one of the engines."""

    async def run(body: Check) -> None:
        async with asyncio.timeout(60.0), opened_case(request.param, tmp_path) as case:
            await body(case)

    return lambda body: asyncio.run(run(body))


def test_a_call_reports_what_it_did(check: Callable[[Check], None]) -> None:
    """Counts and seconds are there and fit together."""

    async def body(case: Case) -> None:
        model = await case.ready()
        result = await case.engine.call(request(model, words(20), words(10, 40)))
        assert 0 <= result.cached_tokens < result.prompt_tokens
        assert 0 < result.output_tokens <= 8 and result.text
        assert result.prefill_s >= 0.0 and result.decode_s >= 0.0
        assert not result.part_tokens or (
            len(result.part_tokens) == 2 and sum(result.part_tokens) == result.prompt_tokens
        )

    check(body)


def test_equal_requests_have_equal_answers(check: Callable[[Check], None]) -> None:
    """At temperature 0 the prompt alone decides."""

    async def body(case: Case) -> None:
        call = request(await case.ready(), words(30), sequence=0)
        assert (await case.engine.call(call)).text == (await case.engine.call(call)).text

    check(body)


def test_raw_prompts_are_shorter_than_chats(check: Callable[[Check], None]) -> None:
    """Without `chat` no template is put around the parts."""

    async def body(case: Case) -> None:
        model = await case.ready()
        raw = await case.engine.call(request(model, words(30), chat=False))
        chat = await case.engine.call(request(model, words(30)))
        assert raw.prompt_tokens < chat.prompt_tokens or case.device.engine == "fake"

    check(body)


def test_loads_stay_within_the_declared_memory(check: Callable[[Check], None]) -> None:
    """A second model is refused until the first is gone; an engine that cannot load says so."""

    async def body(case: Case) -> None:
        engine, first, second = case.engine, case.first.id, case.second.id
        if not engine.capabilities.can_load:
            with pytest.raises(EngineError) as refused:
                await engine.load(first)
            assert not refused.value.retryable
            return
        await engine.load(first)
        with pytest.raises(EngineError):
            await engine.load(first)
        with pytest.raises(EngineError):
            await engine.load(second)
        assert (await engine.call(request(first, words(5)))).output_tokens > 0
        assert await engine.unload(first) >= 0.0
        with pytest.raises(EngineError):
            await engine.call(request(first, words(5)))
        assert (await engine.load(second)).seconds >= 0.0
        assert (await engine.call(request(second, words(5)))).output_tokens > 0

    check(body)


def test_sequences_keep_what_they_hold(check: Callable[[Check], None]) -> None:
    """A prompt finds its prefix in the sequence that holds it, and in no other."""

    async def body(case: Case) -> None:
        model = await case.ready()
        if case.engine.capabilities.prefix == "none":
            return
        head, tail, other = words(100), words(20, 200), words(20, 400)
        first = await case.engine.call(request(model, head, tail, sequence=1))
        again = await case.engine.call(request(model, head, other, sequence=1))
        elsewhere = await case.engine.call(request(model, head, other, sequence=2))
        assert first.cached_tokens == 0 and elsewhere.cached_tokens == 0
        assert again.cached_tokens >= first.part_tokens[0]
        same = await case.engine.call(request(model, head, other, sequence=2))
        assert same.cached_tokens == same.prompt_tokens - 1

    check(body)


def test_unloading_forgets_prefixes(check: Callable[[Check], None]) -> None:
    """A model comes back with empty sequences."""

    async def body(case: Case) -> None:
        if not case.engine.capabilities.can_load:
            return
        call = request(await case.ready(), words(100), sequence=0)
        await case.engine.call(call)
        await case.engine.unload(call.model)
        await case.engine.load(call.model)
        assert (await case.engine.call(call)).cached_tokens == 0

    check(body)


def test_warming_spares_the_call_its_prefill(check: Callable[[Check], None]) -> None:
    """After a warm-up only the last token is computed; nothing was generated."""

    async def body(case: Case) -> None:
        model = await case.ready()
        prompt = parts(words(50))
        if not case.engine.capabilities.can_warm:
            with pytest.raises(EngineError):
                await case.engine.warm(model, prompt, 3)
            return
        warm = await case.engine.warm(model, prompt, 3)
        assert warm.output_tokens == 0 and not warm.text
        result = await case.engine.call(request(model, words(50), sequence=3))
        assert result.cached_tokens == result.prompt_tokens - 1

    check(body)


def test_exact_lengths_are_exact(check: Callable[[Check], None]) -> None:
    """Benchmarks get equal work, where the engine can be told so."""

    async def body(case: Case) -> None:
        call = request(await case.ready(), words(9), max_tokens=23, exact_tokens=True)
        result = await case.engine.call(call)
        assert result.output_tokens == 23 or not case.engine.capabilities.can_load

    check(body)


def test_a_prompt_over_the_context_is_refused_for_good(check: Callable[[Check], None]) -> None:
    """The message has the counts, and a retry would be useless."""

    async def body(case: Case) -> None:
        model = await case.ready()
        with pytest.raises(EngineError, match=r"\d{4}") as refused:
            await case.engine.call(request(model, words(9000)))
        assert not refused.value.retryable
        assert (await case.engine.call(request(model, words(5)))).output_tokens > 0

    check(body)


def test_a_cancelled_call_leaves_its_slot_free(check: Callable[[Check], None]) -> None:
    """The next call in the same sequence starts at once."""

    async def body(case: Case) -> None:
        model = await case.ready()
        long = request(model, words(900), max_tokens=900, sequence=0, exact_tokens=True)
        for turns in (1, 20, 200):
            task = asyncio.ensure_future(case.engine.call(long))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await case.engine.call(request(model, words(5), sequence=0))).text

    check(body)


def test_an_unknown_model_is_refused_for_good(check: Callable[[Check], None]) -> None:
    """A name the device does not have stays wrong."""

    async def body(case: Case) -> None:
        await case.ready()
        with pytest.raises(EngineError) as refused:
            await case.engine.load("nonesuch")
        assert not refused.value.retryable
        with pytest.raises(EngineError):
            await case.engine.call(request("nonesuch", words(5)))

    check(body)


def test_closing_is_final_and_restarting_brings_an_empty_device(
    check: Callable[[Check], None],
) -> None:
    """A restarted device holds nothing; a closed one is lost; closing twice is fine."""

    async def body(case: Case) -> None:
        engine, call = case.engine, request(await case.ready(), words(5))
        assert await engine.healthy()
        await engine.restart()
        assert await engine.healthy()
        if engine.capabilities.can_load:
            with pytest.raises(EngineError):
                await engine.call(call)
            await engine.load(call.model)
        assert (await engine.call(call)).output_tokens > 0
        await engine.close()
        await engine.close()
        assert not await engine.healthy()
        with pytest.raises(DeviceLostError):
            await engine.call(call)

    check(body)


def test_identity(check: Callable[[Check], None]) -> None:
    """Summaries name the engine, its version and its models."""

    async def body(case: Case) -> None:
        info = case.engine.info
        assert info.name == case.device.engine and info.version
        assert set(info.models) == set(case.engine.capabilities.models)
        assert case.first.id in info.models

    check(body)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_of_texts(kind: Kind, tmp_path: Path) -> None:
    """Equal texts have equal vectors, others have others; such a model writes no text."""

    async def body() -> None:
        async with asyncio.timeout(60.0), opened_case(kind, tmp_path, "embed") as case:
            model = await case.ready()
            assert case.engine.capabilities.embed

            def asked(*texts: str) -> CallRequest:
                return request(model, *texts, max_tokens=0, chat=False, embed=True)

            one, again, other = [
                await case.engine.call(asked(*texts))
                for texts in ((words(20),), (words(10), words(10, 10)), (words(20, 300),))
            ]
            assert one.vector and other.vector and len(one.vector) == len(other.vector)
            assert one.vector == again.vector != other.vector
            assert not one.text and one.output_tokens == 0 and one.prompt_tokens > 0
            long = await case.engine.call(asked(words(900)))  # more than a batch of other calls
            assert long.vector and long.prompt_tokens > 500
            with pytest.raises(EngineError) as refused:
                await case.engine.call(asked(words(9000)))
            assert not refused.value.retryable or kind == "openai"  # the server says 500
            with pytest.raises(EngineError, match="cannot give text") as refused:
                await case.engine.call(request(model, words(5)))
            assert not refused.value.retryable
            task = asyncio.ensure_future(case.engine.call(asked(words(900))))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await case.engine.call(asked(words(20)))).vector == one.vector

    asyncio.run(body())


def test_a_model_that_writes_gives_no_vectors(check: Callable[[Check], None]) -> None:
    """The declared task decides, not what the server might do."""

    async def body(case: Case) -> None:
        model = await case.ready()
        with pytest.raises(EngineError, match="cannot give a vector") as refused:
            await case.engine.call(request(model, words(5), max_tokens=0, embed=True))
        assert not refused.value.retryable

    check(body)


def test_a_saved_state_outlives_its_model(check: Callable[[Check], None]) -> None:
    """After unload, load and restore the prompt is cached as if nothing had happened."""

    async def body(case: Case) -> None:
        model = await case.ready()
        if not case.engine.capabilities.can_save:
            with pytest.raises(EngineError):
                await case.engine.save(model, 0)
            return
        call = request(model, words(30), sequence=2)
        await case.engine.call(call)
        before = await case.engine.call(call)
        state = await case.engine.save(model, 2)
        assert state.size_bytes > 0 or not case.first.kv_bytes_per_token
        await case.engine.unload(model)
        await case.engine.load(model)
        assert await case.engine.restore(model, 1, state) >= 0.0
        after = await case.engine.call(replace(call, sequence=1))
        assert after.cached_tokens == before.cached_tokens > 0
        assert after.text == before.text
        state.discard()

    check(body)


def test_states_of_other_weights_are_refused(check: Callable[[Check], None]) -> None:
    """Equal shapes are not enough: an engine would take the state and answer nonsense."""

    async def body(case: Case) -> None:
        model = await case.ready()
        if not case.engine.capabilities.can_save:
            return
        await case.engine.call(request(model, words(30), sequence=0))
        state = await case.engine.save(model, 0)
        await case.engine.unload(model)
        await case.engine.load(case.second.id)
        with pytest.raises(EngineError, match="other weights"):
            await case.engine.restore(case.second.id, 0, state)
        result = await case.engine.call(request(case.second.id, words(30), sequence=0))
        assert result.cached_tokens == 0

    check(body)
