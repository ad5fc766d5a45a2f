"""Small real devices for tests: random models made on the spot, engines opened and closed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from fate.domain.catalog import Device, Model
from fate.engines.base import CallRequest, PromptPart, Role
from fate.engines.gguf_synthetic import SyntheticSpec, synthetic
from fate.engines.llamacpp import LlamaCppEngine
from fate.engines.models import facts_of_file

MIB = 2**20
#: Loads in milliseconds.
TINY = SyntheticSpec(layers=2, heads=2, kv_heads=1, feed_forward=256)
#: Slow enough to be caught loading, prefilling and decoding.
SLOW = SyntheticSpec(layers=6, heads=8, kv_heads=4, feed_forward=2048, triples=True)


def written(folder: Path, name: str, spec: SyntheticSpec) -> tuple[Model, Path]:
    """Write a random model and return it as the scheduler knows it, with its file."""
    path = folder / f"{name}.gguf"
    if not path.exists():
        synthetic(path, spec)
    return described(path), path


def described(path: Path, context_tokens: int = 2048) -> Model:
    """Return a file's model under the file's name."""
    facts = facts_of_file(path)
    return Model(
        id=path.stem,
        weight_bytes=facts.weight_bytes,
        kv_bytes_per_token=facts.kv_bytes_per_token,
        context_tokens=context_tokens,
        tokenizer=facts.tokenizer,
    )


def device(memory_bytes: int = 512 * MIB, **changes: Any) -> Device:
    """Return a device with four cache slots."""
    values: dict[str, Any] = {"id": "d0", "engine": "llamacpp", "memory_bytes": memory_bytes}
    return Device(**{**values, **changes})


@asynccontextmanager
async def opened(
    files: list[tuple[Model, Path]], on: Device | None = None
) -> AsyncGenerator[LlamaCppEngine]:
    """Open a device that may load these models."""
    models = tuple(model for model, _ in files)
    sources = {model.id: str(path) for model, path in files}
    engine = LlamaCppEngine(on or device(), models, sources)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


def parts(*texts: str, role: Role = "user") -> tuple[PromptPart, ...]:
    """Return prompt parts that are named after their texts."""
    return tuple(PromptPart(key=f"key:{text}", text=text, role=role) for text in texts)


def request(model: str, *texts: str, max_tokens: int = 8, **changes: Any) -> CallRequest:
    """Return a call."""
    return CallRequest(model=model, parts=parts(*texts), max_tokens=max_tokens, **changes)


def words(count: int, start: int = 0) -> str:
    """Return so many different words of two letters, each with the space before it."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    numbers = range(start, start + count)
    return "".join(f" {letters[(n // 26) % 26]}{letters[n % 26]}" for n in numbers)


async def slots(engine: LlamaCppEngine, model: str) -> list[dict[str, Any]]:
    """Return what a model's server says of its cache slots."""
    address, key = engine.endpoint(model)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{address}/slots") as response,
    ):
        return await response.json()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds; ten seconds are too long."""
    async with asyncio.timeout(10.0):
        while not await condition():  # noqa: ASYNC110 - the state is in another process
            await asyncio.sleep(0.002)
