"""Writes GGUF files: real weights in another quantisation, and small random models.

Same input, same bytes: quantisation is elementwise, random weights come from a bit generator whose
stream is fixed, and nothing of the machine goes into the file. That is why the digests in
`models.KNOWN` can be known in advance.
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fate.engines.gguf_header import (
    ARRAY,
    BLOCKS,
    DEFAULT_ALIGNMENT,
    FORMATS,
    MAGIC,
    STRING,
    BadWeightsError,
    Tensor,
    read_header,
)

Quantization: TypeAlias = Literal["F32", "F16", "Q4_0", "Q8_0"]

#: GGUF numbers: value types, tensor types, and file types by quantisation.
UINT32, INT32, FLOAT32, BOOL = 4, 5, 6, 7
F32, F16, Q4_0, Q4_1, Q8_0 = 0, 1, 2, 3, 8
TENSOR_TYPES: dict[Quantization, int] = {"F32": F32, "F16": F16, "Q4_0": Q4_0, "Q8_0": Q8_0}
FILE_TYPES: dict[Quantization, int] = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7}
BLOCK = 32

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]


def requantize(source: Path, target: Path, to: Quantization) -> None:
    """Write the weights of `source` in another quantisation; vectors stay as they are.

    Args:
        source: a GGUF file in F32, F16, Q8_0, Q4_1 or Q4_0.
        target: the file to write.
        to: the quantisation of the matrices.
    """
    header = read_header(source)
    data = np.memmap(source, dtype=np.uint8, mode="r")
    start, end = header.metadata_span
    label = "general.file_type"
    before = encode_value(label, UINT32, header.metadata[label])
    metadata = (
        data[start:end].tobytes().replace(before, encode_value(label, UINT32, FILE_TYPES[to]))
    )

    def converted() -> Iterator[Bytes]:
        for tensor in header.tensors:
            at = header.data_start + tensor.offset
            raw = data[at : at + tensor.size_bytes]
            matrix = len(tensor.shape) > 1
            yield quantize(dequantize(raw, tensor.type), to) if matrix else raw

    tensors = [
        (t.name, t.shape, TENSOR_TYPES[to] if len(t.shape) > 1 else t.type) for t in header.tensors
    ]
    count = len(header.metadata) + len(header.lengths)
    write_gguf(target, count, metadata, tensors, converted())


def dequantize(raw: Bytes, kind: int) -> Floats:
    """Turn a tensor's bytes into numbers."""
    if kind == F32:
        return raw.view(np.float32)
    if kind == F16:
        return raw.view(np.float16).astype(np.float32)
    if kind not in (Q4_0, Q4_1, Q8_0):
        raise BadWeightsError(f"cannot read tensors of GGUF type {kind}")
    blocks = raw.reshape(-1, BLOCKS[kind][1])
    scale = np.ascontiguousarray(blocks[:, 0:2]).view(np.float16).astype(np.float32)
    if kind == Q8_0:
        return (np.ascontiguousarray(blocks[:, 2:]).view(np.int8) * scale).reshape(-1)
    nibbles = blocks[:, -BLOCK // 2 :]
    values = np.concatenate([nibbles & 0x0F, nibbles >> 4], axis=1).astype(np.float32)
    if kind == Q4_0:
        return ((values - np.float32(8)) * scale).reshape(-1)
    lowest = np.ascontiguousarray(blocks[:, 2:4]).view(np.float16).astype(np.float32)
    return (values * scale + lowest).reshape(-1)


def quantize(values: Floats, to: Quantization) -> Bytes:
    """Turn numbers into a tensor's bytes, rounding as llama.cpp's reference does."""
    if to == "F32":
        return values.view(np.uint8)
    if to == "F16":
        return values.astype(np.float16).view(np.uint8)
    blocks = values.reshape(-1, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
    scale = largest / np.float32(-8) if to == "Q4_0" else np.abs(largest) / np.float32(127)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
    scaled = blocks * inverse
    head = scale.astype(np.float16).view(np.uint8)
    if to == "Q8_0":
        rounded = np.trunc(np.abs(scaled) + np.float32(0.5)) * np.sign(scaled)
        return np.concatenate([head, rounded.astype(np.int8).view(np.uint8)], axis=1).reshape(-1)
    nibbles = np.trunc(scaled + np.float32(8.5)).clip(0, 15).astype(np.uint8)
    packed = nibbles[:, : BLOCK // 2] | (nibbles[:, BLOCK // 2 :] << np.uint8(4))
    return np.concatenate([head, packed], axis=1).reshape(-1)


def write_gguf(
    path: Path,
    value_count: int,
    metadata: bytes,
    tensors: Iterable[tuple[str, tuple[int, ...], int]],
    data: Iterable[Bytes],
) -> None:
    """Write a GGUF file from encoded metadata, tensor descriptions and their data in order."""
    described: list[Tensor] = []
    offset = 0
    for name, shape, kind in tensors:
        tensor = Tensor(name=name, shape=shape, type=kind, offset=offset)
        described.append(tensor)
        offset += _aligned(tensor.size_bytes)
    infos = b"".join(
        _string(t.name)
        + struct.pack(f"<I{len(t.shape)}QIQ", len(t.shape), *t.shape, t.type, t.offset)
        for t in described
    )
    head = MAGIC + struct.pack("<IQQ", 3, len(described), value_count) + metadata + infos
    with path.open("wb") as file:
        file.write(head.ljust(_aligned(len(head)), b"\0"))
        for raw in data:
            file.write(raw.tobytes())
            file.write(b"\0" * (_aligned(raw.nbytes) - raw.nbytes))


def encode_value(key: str, kind: int, value: Any) -> bytes:  # noqa: ANN401 - any GGUF value
    """Encode one metadata entry; arrays are given as (element type, values)."""
    head = _string(key) + struct.pack("<I", kind)
    if kind == STRING:
        return head + _string(value)
    if kind != ARRAY:
        return head + struct.pack(FORMATS[kind], value)
    inner, values = value
    body = (
        b"".join(_string(v) for v in values)
        if inner == STRING
        else b"".join(struct.pack(FORMATS[inner], v) for v in values)
    )
    return head + struct.pack("<IQ", inner, len(values)) + body


def _string(text: str) -> bytes:
    """Encode a length-prefixed string."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _aligned(size: int) -> int:
    """Round up to the alignment of tensor data."""
    return -(-size // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT
