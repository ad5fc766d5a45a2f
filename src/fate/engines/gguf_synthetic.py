"""Small llama models with random weights, for tests and benchmarks.

They load, prefill and decode like any model of their size; what they write is noise. The
vocabulary is made here too: bytes, and merges that join letters into pairs and triples, so that
English text comes to about 2.5 characters a token.
"""

import itertools
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fate.engines.gguf_header import ARRAY, BLOCKS, STRING
from fate.engines.gguf_make import (
    BOOL,
    F32,
    FILE_TYPES,
    FLOAT32,
    INT32,
    TENSOR_TYPES,
    UINT32,
    Bytes,
    Quantization,
    encode_value,
    write_gguf,
)

#: Token types of GGUF vocabularies.
NORMAL, CONTROL = 1, 3
#: How a space looks inside byte-level vocabularies.
SPACE = "Ġ"
SPECIALS = ("<|start|>", "<|end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSpec:
    """Shape of a random llama model. `triples` adds the 105 000 tokens of three letters.

    `head_width` x `heads` is the width; `kv_heads` of them have keys and values. The embedding has
    a quantisation of its own, so that a large vocabulary makes loads long and decoding not.
    """

    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    head_width: int = 64
    triples: bool = False
    quantization: Quantization = "Q8_0"
    embedding: Quantization = "Q8_0"
    context_tokens: int = 8192
    seed: int = 0

    @property
    def width(self) -> int:
        """Length of the hidden vector."""
        return self.heads * self.head_width


def synthetic(path: Path, spec: SyntheticSpec) -> None:
    """Write a random model; the same spec gives the same bytes."""
    tokens, merges = vocabulary(triples=spec.triples)
    values = list(_metadata(spec, tokens, merges))
    shapes = [(name, shape, _type(spec, name)) for name, shape in _shapes(spec, len(tokens))]
    random = np.random.PCG64(spec.seed)
    data = (_random_tensor(shape, kind, random) for _, shape, kind in shapes)
    encoded = b"".join(encode_value(*value) for value in values)
    write_gguf(path, len(values), encoded, shapes, data)


def vocabulary(*, triples: bool) -> tuple[list[str], list[str]]:
    """Return tokens and merges of a byte-level vocabulary.

    Merges: letters into pairs (`ab`, `Ab`, `AB`); with `triples` pairs with a third, small letter;
    and a space in front of each of these.
    """
    small, capital = string.ascii_lowercase, string.ascii_uppercase
    merges = [(a, b) for a in small + capital for b in small]
    merges += [(a, b) for a in capital for b in capital]
    if triples:
        merges += [(a + b, c) for a, b in tuple(merges) for c in small]
    merges += [(SPACE, letter) for letter in small + capital]
    merges += [(SPACE, left + right) for left, right in tuple(merges) if left != SPACE]
    tokens = [*SPECIALS, *byte_tokens(), *(left + right for left, right in merges)]
    return tokens, [f"{left} {right}" for left, right in merges]


def byte_tokens() -> list[str]:
    """Return the 256 printable characters that stand for bytes in byte-level vocabularies."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = itertools.count(0x100)
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def _metadata(
    spec: SyntheticSpec, tokens: list[str], merges: list[str]
) -> Iterator[tuple[str, int, Any]]:
    """Yield what llama.cpp wants to know about the model."""
    types = [CONTROL] * len(SPECIALS) + [NORMAL] * (len(tokens) - len(SPECIALS))
    yield "general.architecture", STRING, "llama"
    yield "general.name", STRING, "synthetic"
    yield "general.file_type", UINT32, FILE_TYPES[spec.quantization]
    yield "llama.block_count", UINT32, spec.layers
    yield "llama.context_length", UINT32, spec.context_tokens
    yield "llama.embedding_length", UINT32, spec.width
    yield "llama.feed_forward_length", UINT32, spec.feed_forward
    yield "llama.attention.head_count", UINT32, spec.heads
    yield "llama.attention.head_count_kv", UINT32, spec.kv_heads
    yield "llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5
    yield "llama.rope.dimension_count", UINT32, spec.head_width
    yield "llama.vocab_size", UINT32, len(tokens)
    yield "tokenizer.ggml.model", STRING, "gpt2"
    yield "tokenizer.ggml.pre", STRING, "gpt-2"
    yield "tokenizer.ggml.tokens", ARRAY, (STRING, tokens)
    yield "tokenizer.ggml.token_type", ARRAY, (INT32, types)
    yield "tokenizer.ggml.merges", ARRAY, (STRING, merges)
    yield "tokenizer.ggml.bos_token_id", UINT32, 0
    yield "tokenizer.ggml.eos_token_id", UINT32, 1
    yield "tokenizer.ggml.add_bos_token", BOOL, False
    yield "tokenizer.chat_template", STRING, CHAT_TEMPLATE


def _shapes(spec: SyntheticSpec, vocabulary_size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield tensor names and shapes, fastest dimension first; the output shares the embedding."""
    width, kv_width = spec.width, spec.kv_heads * spec.head_width
    yield "token_embd.weight", (width, vocabulary_size)
    yield "output_norm.weight", (width,)
    for layer in range(spec.layers):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", (width,)
        yield block + "attn_q.weight", (width, width)
        yield block + "attn_k.weight", (width, kv_width)
        yield block + "attn_v.weight", (width, kv_width)
        yield block + "attn_output.weight", (width, width)
        yield block + "ffn_norm.weight", (width,)
        yield block + "ffn_gate.weight", (width, spec.feed_forward)
        yield block + "ffn_up.weight", (width, spec.feed_forward)
        yield block + "ffn_down.weight", (spec.feed_forward, width)


def _type(spec: SyntheticSpec, name: str) -> int:
    """Return a tensor's type: vectors are plain, the embedding may differ from the layers."""
    if "norm" in name:
        return F32
    return TENSOR_TYPES[spec.embedding if name.startswith("token_embd") else spec.quantization]


def _random_tensor(shape: tuple[int, ...], kind: int, random: np.random.PCG64) -> Bytes:
    """Return a tensor's bytes: ones for vectors, random quantised blocks for matrices.

    Blocks are drawn as bytes, under a fixed scale that gives weights a spread of about 0.02.
    """
    count = int(np.prod(shape))
    if kind == F32:
        return np.ones(count, np.float32).view(np.uint8)
    elements, size = BLOCKS[kind]
    blocks = count // elements
    words = -(-blocks * size // 8)
    data = random.random_raw(words).astype("<u8").view(np.uint8)[: blocks * size]
    data = data.reshape(blocks, size)
    scale = np.float16(0.02 / (73.0 if size == BLOCKS[TENSOR_TYPES["Q8_0"]][1] else 4.6))
    data[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    return data.reshape(-1)
