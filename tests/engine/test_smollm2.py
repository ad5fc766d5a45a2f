"""The default set on the real thing: pulled, quantised here, answering in English."""

import asyncio
import json
import re

import pytest
from tests.devices import device, opened, parts, request

from fate.domain.catalog import Model
from fate.engines.base import CallRequest
from fate.engines.fetch import silent
from fate.engines.known import DEFAULT_SET, KNOWN
from fate.engines.model_cache import ModelCache

SCHEMA = {
    "type": "object",
    "properties": {"capital": {"type": "string"}},
    "required": ["capital"],
    "additionalProperties": False,
}


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("name", DEFAULT_SET)
def test_each_tier_answers_and_keeps_to_a_schema(name: str) -> None:
    """Digests are those of the table, memory is what it says, answers are to the point."""
    known, cache = KNOWN[name], ModelCache()
    path = cache.pull(known, silent)
    model = Model(
        id=name,
        weight_bytes=known.facts.weight_bytes,
        kv_bytes_per_token=known.facts.kv_bytes_per_token,
        context_tokens=known.facts.context_tokens,
        tokenizer=known.facts.tokenizer,
    )

    async def body() -> None:
        async with opened([(model, path)], device(model.footprint_bytes)) as engine:
            loaded = await engine.load(name)
            grown = loaded.rss_after_bytes - loaded.rss_before_bytes
            assert 0.8 < grown / model.footprint_bytes < 1.15
            question = parts("You are terse.", role="system") + parts(
                "What is the capital of France?"
            )
            call = CallRequest(model=name, parts=question, max_tokens=60)
            answer = await engine.call(call)
            assert {"Paris", "France"} & set(re.findall(r"\w+", answer.text))
            assert sum(answer.part_tokens) == answer.prompt_tokens
            shaped = request(name, "What is the capital of France?", max_tokens=40, schema=SCHEMA)
            assert json.loads((await engine.call(shaped)).text)["capital"]

    asyncio.run(body())
