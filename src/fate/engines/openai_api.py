"""The OpenAI API's terms: what a call is in them, and how answers are put on the wire."""

from collections.abc import AsyncGenerator
from itertools import groupby
from typing import Any

import aiohttp
from aiohttp.http import HttpProcessingError

from fate.engines.base import CallRequest, PromptPart, Role

_EVENT = b"data:"
#: Bytes read at most of an answer in one piece.
LONGEST_BODY = 1 << 26


async def events(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    """Yield the events of a stream up to its end; comments and blank lines are none.

    Raises:
        ValueError: a line is too long to be one.
    """
    try:
        async for line in response.content:
            if line.startswith(_EVENT) and (event := line[len(_EVENT) :].strip()):
                if event == b"[DONE]":
                    return
                yield event
    except HttpProcessingError:
        raise ValueError("a line without end") from None


async def whole(response: aiohttp.ClientResponse) -> bytes:
    """Return a body that comes in one piece.

    Raises:
        ValueError: it is too long to be an answer.
    """
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > LONGEST_BODY:
            raise ValueError(f"more than {LONGEST_BODY} bytes")
    return bytes(body)


def retry_after_s(header: str) -> float | None:
    """Return the seconds that a `Retry-After` header says; None for none, or a date."""
    try:
        seconds = float(header)
    except ValueError:
        return None
    return seconds if 0.0 <= seconds < float("inf") else None


def request_body(request: CallRequest, name: str) -> dict[str, Any]:
    """Translate a call into the API's terms."""
    body: dict[str, Any] = {
        "model": name,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.stop:
        body["stop"] = list(request.stop)
    if request.schema is not None:
        schema = {"name": "answer", "schema": request.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.chat:
        body["messages"] = [
            {"role": role, "content": "".join(part.text for part in run)}
            for role, run in groupby(request.parts, key=_role)
        ]
    else:
        body["prompt"] = text_of(request)
    return body


def text_of(request: CallRequest) -> str:
    """Return a prompt as one text."""
    return "".join(part.text for part in request.parts)


def _role(part: PromptPart) -> Role:
    return part.role
