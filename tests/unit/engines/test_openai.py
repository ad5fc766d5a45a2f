"""Servers that are killed, slow, or lie about the API."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from tests.devices import request
from tests.servers import MODEL, REMOTE, Handler, call, piece, says, served, streams

from fate.domain.catalog import Model
from fate.domain.errors import FateError
from fate.engines import openai
from fate.engines.base import CallRequest, DeviceLostError, EngineError, PromptPart
from fate.engines.openai import OpenAIEngine

WHOLE = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}


def test_a_streamed_answer_with_usage_is_reported_as_counted() -> None:
    """Counts are the server's, cached tokens included."""
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    result = call(streams(piece("a"), piece("b", "length"), {"choices": [], "usage": usage}))
    assert (result.text, result.finish) == ("ab", "length")
    assert (result.prompt_tokens, result.cached_tokens, result.output_tokens) == (7, 4, 3)


def test_a_server_that_neither_streams_nor_counts_is_good_enough() -> None:
    """Without usage, tokens are estimated from lengths."""
    result = call(says(WHOLE))
    assert result.text == "hi" and result.finish == "stop"
    assert result.prompt_tokens == 14 // 4 + 1 and result.output_tokens == 1
    assert result.cached_tokens == 0


EMBEDDER = Model(id="m", weight_bytes=0, task="embed")
EMBED = request("m", "four", "teen words", max_tokens=0, chat=False, embed=True)


def test_vectors_come_from_embeddings() -> None:
    """The text is sent as one; tokens are the server's, or estimated."""
    seen: list[Any] = []

    async def record(asked: web.Request) -> web.StreamResponse:
        seen.append((asked.path, await asked.json()))
        return web.json_response({"data": [{"embedding": [1, 0.5]}], **usage})

    usage: dict[str, Any] = {}
    assert call(record, EMBED, model=EMBEDDER).prompt_tokens == 14 // 4 + 1
    usage["usage"] = {"prompt_tokens": 7}
    result = call(record, EMBED, model=EMBEDDER)
    assert result.vector == (1.0, 0.5) and result.prompt_tokens == 7 and not result.output_tokens
    assert seen[0] == ("/v1/embeddings", {"model": "name", "input": "fourteen words"})


@pytest.mark.parametrize("body", [{}, {"data": []}, {"data": [{"embedding": ["x"]}]}, [1]])
def test_vectors_that_are_none(body: object) -> None:
    """An answer of another shape is the server's fault."""
    with pytest.raises(EngineError, match="not what the OpenAI API says"):
        call(says(body), EMBED, model=EMBEDDER)


def test_raw_prompts_go_to_completions_and_chats_keep_their_roles() -> None:
    """What is sent is what the API documents."""
    seen: list[tuple[str, dict[str, Any]]] = []

    async def record(asked: web.Request) -> web.StreamResponse:
        seen.append((asked.path, await asked.json()))
        return web.json_response({"choices": [{"text": "ok", "finish_reason": "stop"}]})

    system = PromptPart(key="s", text="be brief", role="system")
    user = PromptPart(key="u", text="hello")
    schema = {"type": "object"}
    for chat in (True, False):
        call(
            record,
            CallRequest(
                model="m", parts=(system, user, user), max_tokens=3, chat=chat, schema=schema
            ),
        )
    (chat_path, chat_body), (raw_path, raw_body) = seen
    assert (chat_path, raw_path) == ("/v1/chat/completions", "/v1/completions")
    assert chat_body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hellohello"},
    ]
    assert raw_body["prompt"] == "be briefhellohello" and chat_body["model"] == "name"
    assert chat_body["response_format"]["json_schema"]["schema"] == schema


def test_an_optional_field_that_is_refused_is_left_out_from_then_on() -> None:
    """Small servers know no `stream_options`; they are asked once."""
    asked: list[bool] = []

    async def strict(call: web.Request) -> web.StreamResponse:
        asked.append("stream_options" in await call.json())
        if asked[-1]:
            return web.json_response({"error": "unknown field stream_options"}, status=400)
        return web.json_response(WHOLE)

    async def body() -> None:
        async with served(strict) as (engine, _):
            for _ in range(2):
                assert (await engine.call(request("m", "x"))).text == "hi"

    asyncio.run(body())
    assert asked == [True, False, False]


@pytest.mark.parametrize(
    ("chat", "said", "retryable"),
    [
        (says({"error": {"message": "boom"}}, 500), "answers 500.*boom", True),
        (says({"error": "slow down"}, 429), "answers 429", True),
        (says({"error": "no"}, 401), "answers 401; set `api_key_env`", False),
        (says({"error": "too long"}, 400), "answers 400.*too long", False),
        (says({"choices": []}), "no choices", True),
        (says({}), "no choices", True),
        (says([1, 2]), "not what the OpenAI API says", True),
        (says({"choices": [{"message": "text"}]}), "not what the OpenAI API says", True),
        (says({"choices": 7}), "not what the OpenAI API says", True),
        (streams(piece("a"), {"error": {"message": "out of memory"}}), "out of memory", True),
        (streams(piece("a")), "stops before its end", True),
        (streams(piece("a"), end=False), "connection broke", True),
        (streams(), "no choices", True),
    ],
)
def test_lies_are_errors_of_one_line(chat: Handler, said: str, retryable: bool) -> None:
    """Whatever a server says instead of an answer, the call fails and the device stays."""
    with pytest.raises(EngineError, match=said) as error:
        call(chat)
    assert error.value.retryable is retryable and "\n" not in str(error.value)
    assert not isinstance(error.value, DeviceLostError) and "r0" in str(error.value)


def test_text_that_is_no_json_is_an_error() -> None:
    """A stream of something else ends the call, not the program."""

    async def noise(asked: web.Request) -> web.StreamResponse:
        return web.Response(body=b"data: {nonsense\n\n", content_type="text/event-stream")

    with pytest.raises(EngineError, match="not what the OpenAI API says"):
        call(noise)


def test_a_server_that_says_nothing_is_given_up() -> None:
    """Silence is bounded."""

    async def silent(_asked: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(EngineError, match=r"not a word for 0\.05 s"):
        call(silent, silence_s=0.05)


def test_a_server_that_is_gone_is_a_lost_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """`restart` waits for it, but not for ever."""
    monkeypatch.setattr(openai, "RESTART_WAIT_S", 0.0)

    async def body() -> None:
        async with served(says(WHOLE)) as (engine, runner):
            assert await engine.healthy()
            await runner.cleanup()
            assert not await engine.healthy()
            with pytest.raises(DeviceLostError, match="no server there"):
                await engine.call(request("m", "x"))
            with pytest.raises(DeviceLostError):
                await engine.restart()

    asyncio.run(body())


def test_restarting_waits_until_the_server_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is still loading says 503; it is asked again."""
    monkeypatch.setattr(openai, "RESTART_POLL_S", 0.0)
    answers = [200, 503, 503, 200]

    async def models(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": [{"id": "name"}]}, status=answers.pop(0))

    async def body() -> None:
        async with served(says(WHOLE), models) as (engine, _):
            await engine.restart()
            assert not answers
            assert (await engine.call(request("m", "x"))).text == "hi"

    asyncio.run(body())


def test_a_wrong_key_is_told_when_opening() -> None:
    """Before anything runs, and not taken for a server without a list of models."""

    async def body() -> None:
        async with served(says(WHOLE), says({"error": "no"}, 401)):
            raise AssertionError("opened")

    with pytest.raises(EngineError, match="answers 401; set `api_key_env`") as error:
        asyncio.run(body())
    assert not error.value.retryable


def test_opening_checks_the_models_a_server_lists() -> None:
    """A wrong name is told before anything runs."""

    async def body() -> None:
        async with served(says(WHOLE), says({"data": [{"id": "other"}]})):
            raise AssertionError("opened")

    with pytest.raises(EngineError, match="has no model 'name'; it has other"):
        asyncio.run(body())


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable's name is in the message; no key ever is."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(FateError, match="NO_SUCH_KEY"):
        OpenAIEngine(
            REMOTE, (MODEL,), {"m": "m"}, base_url="http://h/v1", api_key_env="NO_SUCH_KEY"
        )
