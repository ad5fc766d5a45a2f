"""Servers with an OpenAI-compatible API that behave as a test wants."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from tests.devices import request

from fate.domain.catalog import Device, Model
from fate.engines.base import CallRequest
from fate.engines.openai import OpenAIEngine

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MODEL = Model(id="m", weight_bytes=0)
REMOTE = Device(id="r0", engine="openai", memory_bytes=0, prefix="none", managed=False)


async def not_here(_request: web.Request) -> web.StreamResponse:
    """Answer as a server without this endpoint."""
    raise web.HTTPNotFound


def says(body: object, status: int = 200) -> Handler:
    """Answer every request with this JSON."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return answer


def streams(*events: object, end: bool = True) -> Handler:
    """Answer every request with these events."""

    async def answer(asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(asked)
        for event in events:
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        if end:
            await response.write(b"data: [DONE]\n\n")
        else:
            assert asked.transport is not None
            asked.transport.abort()
        return response

    return answer


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    """Return a chunk of a streamed answer."""
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


@asynccontextmanager
async def served(
    chat: Handler, models: Handler = not_here, *, model: Model = MODEL, **options: Any
) -> AsyncGenerator[tuple[OpenAIEngine, web.AppRunner]]:
    """Serve one behaviour and open an engine on it."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/completions", chat)
    app.router.add_post("/v1/embeddings", chat)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    engine = OpenAIEngine(
        REMOTE, (model,), {"m": "name"}, base_url=f"http://127.0.0.1:{port}/v1/", **options
    )
    try:
        await engine.open()
        yield engine, runner
    finally:
        await engine.close()
        await runner.cleanup()


def call(chat: Handler, asked: CallRequest | None = None, **options: Any) -> Any:
    """Return the result of one call on a server that behaves so."""

    async def body() -> Any:
        async with served(chat, **options) as (engine, _):
            return await engine.call(asked or request("m", "four", "teen words"))

    return asyncio.run(body())
