"""Servers that are slow, never end, count wrongly, or ask to be left alone for a while."""

import asyncio
import json
import time
from typing import Any

import pytest
from aiohttp import web
from tests.devices import request
from tests.servers import Handler, call, piece, says, streams

from fate.drivers.execute import nonsense_in
from fate.engines import openai_api
from fate.engines.base import BusyError, EngineError

WHOLE = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
#: Bytes that are no UTF-8, in more than one line.
NOISE = b"\xff\xfe<html>\nfull of\nlines"


def counting(**usage: Any) -> Handler:
    """Answer well, with this usage."""
    return says({**WHOLE, "usage": usage})


def trickles(*writes: bytes, pause_s: float = 0.0, times: int = 1 << 30) -> Handler:
    """Stream these bytes again and again, with a pause before each."""

    async def answer(asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(asked)
        for _ in range(times):
            for write in writes:
                await asyncio.sleep(pause_s)
                await response.write(write)
        return response

    return answer


def event(content: object) -> bytes:
    """Return one event of a stream."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": "many"},
        {"completion_tokens": float("inf")},
        {"completion_tokens": [3]},
        {"prompt_tokens": 10**40},
        {"prompt_tokens": 5, "prompt_tokens_details": 7},
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": [1]}},
    ],
)
def test_counts_that_are_no_numbers_fail_the_call(usage: dict[str, Any]) -> None:
    """And nothing else; a later attempt may do better."""
    with pytest.raises(EngineError, match="not what the OpenAI API says") as error:
        call(counting(**usage))
    assert error.value.retryable and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("usage", "said"),
    [
        ({"prompt_tokens": -5}, "negative"),
        ({"prompt_tokens": 5, "completion_tokens": 99}, "99 tokens where at most"),
        (
            {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
            "6 tokens cached of a prompt of 5",
        ),
    ],
)
def test_numbers_that_cannot_be_true_are_the_devices_nonsense(
    usage: dict[str, Any], said: str
) -> None:
    """The adapter hands them on; the runtime tells what is wrong and blames the device."""
    asked = request("m", "four", "teen words")
    found = nonsense_in(asked, call(counting(**usage), asked))
    assert found is not None and said in found


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (says({"error": {"message": "two\nlines"}}, 500), r"answers 500.*two\\nlines"),
        (says({"error": "two\nlines"}), "two lines"),
        (says({"choices": [{"message": {"content": 5}}]}), "a text of type int"),
        (says({**WHOLE, "usage": [1]}), "not what the OpenAI API says"),
        (trickles(b"data: " + b"[" * 50_000 + b"\n\n", times=1), "not what the OpenAI API says"),
        (trickles(b"data: " + b"x" * 65_536), "a line without end"),
    ],
)
def test_whatever_it_says_the_reason_is_one_line(handler: Handler, said: str) -> None:
    """Lines of others are put into one, and shape is checked before use."""
    with pytest.raises(EngineError, match=said) as error:
        call(handler)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_an_error_page_of_noise_is_cut_short() -> None:
    """No text encoding, no JSON, too long: a status and a line."""

    async def noise(_asked: web.Request) -> web.StreamResponse:
        return web.Response(status=502, body=NOISE * 10_000)

    with pytest.raises(EngineError, match=r"answers 502: .*full of lines") as error:
        call(noise)
    assert error.value.retryable and len(str(error.value)) < 400


def test_tokens_that_trickle_in_are_an_answer() -> None:
    """Slowness is the watch's business as long as something comes."""
    words = [event(piece(f" {n}")) for n in range(4)]
    last = event(piece("", "length"))
    result = call(trickles(*words, last, pause_s=0.02, times=1), silence_s=1.0)
    assert (result.text, result.output_tokens, result.finish) == (" 0 1 2 3", 4, "length")
    assert result.decode_s > 0.0


@pytest.mark.parametrize("idle", [b": ping\n\n", b"data:\n\n", event(piece(""))])
def test_signs_of_life_without_an_answer_are_silence(idle: bytes) -> None:
    """Comments, empty events and empty deltas could go on for ever."""
    with pytest.raises(EngineError, match=r"not a word for 0\.1 s"):
        call(trickles(idle, pause_s=0.01), silence_s=0.1)


def test_a_stream_without_end_is_cut() -> None:
    """It gives far more than was asked for."""
    with pytest.raises(EngineError, match=r"the answer does not end: .* tokens were asked for"):
        call(trickles(event(piece("la "))), request("m", "x", max_tokens=5))


def test_a_body_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read into memory for ever."""
    monkeypatch.setattr(openai_api, "LONGEST_BODY", 100_000)

    async def endless(asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(asked)
        while True:
            await response.write(b" " * 10_000)

    with pytest.raises(EngineError, match="more than 100000 bytes"):
        call(endless)


def busy(*answers: tuple[int, str]) -> tuple[Handler, list[float]]:
    """Answer with these statuses and waits one after the other, then well; tell when asked."""
    left, asked_s = list(answers), list[float]()

    async def answer(_asked: web.Request) -> web.StreamResponse:
        asked_s.append(time.monotonic())
        if not left:
            return web.json_response(WHOLE)
        status, wait = left.pop(0)
        headers = {"Retry-After": wait} if wait else None
        return web.json_response({"error": "slow down"}, status=status, headers=headers)

    return answer, asked_s


@pytest.mark.parametrize(("status", "wait", "wait_s"), [(429, "30", 30.0), (503, "0", 0.1)])
def test_a_server_that_asks_to_wait_is_not_asked_again_in_here(
    status: int, wait: str, wait_s: float
) -> None:
    """It says for how long; the core decides who waits and who goes elsewhere."""
    handler, asked_s = busy((status, wait))
    with pytest.raises(BusyError, match=f"answers {status}: .*slow down.*asks to wait") as error:
        call(handler)
    assert error.value.wait_s == wait_s and error.value.retryable and len(asked_s) == 1


@pytest.mark.parametrize("wait", ["-1", "nan", "Wed, 21 Oct 2026 07:28:00 GMT", ""])
def test_waits_that_are_not_understood_are_failures(wait: str) -> None:
    """The core decides then; it may have another device."""
    handler, asked_s = busy((429, wait))
    with pytest.raises(EngineError, match=r"answers 429: .*slow down") as error:
        call(handler)
    assert not isinstance(error.value, BusyError)
    assert error.value.retryable and len(asked_s) == 1


def test_a_stream_may_say_its_usage_at_every_piece() -> None:
    """The last one counts."""
    first = {**piece("a"), "usage": {"prompt_tokens": 7, "completion_tokens": 1}}
    last = {**piece("b", "stop"), "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    result = call(streams(first, last))
    assert (result.prompt_tokens, result.output_tokens) == (7, 2)
