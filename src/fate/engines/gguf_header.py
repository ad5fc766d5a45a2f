"""Reads what a GGUF file says about itself, quickly: arrays are skipped, tensors not touched."""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fate.domain.errors import FateError

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
STRING, ARRAY = 8, 9
#: GGUF value types by number, as struct formats.
FORMATS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
#: Tensor types by number: (elements per block, bytes per block).
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip


class BadWeightsError(FateError):
    """A weights file is missing, truncated or not what it should be."""

    code = "bad-weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Name, shape (fastest dimension first), type number and place of a tensor."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor's data."""
        elements, size = BLOCKS[self.type]
        count = 1
        for length in self.shape:
            count *= length
        return count // elements * size


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says. `metadata` holds scalars and strings, `lengths` the arrays' lengths.

    `metadata_span` is where the metadata lies in the file, to be copied as it is;
    `tokenizer_digest` identifies the vocabulary: models that share it cut text alike.
    """

    metadata: dict[str, Any]
    lengths: dict[str, int]
    tensors: tuple[Tensor, ...]
    metadata_span: tuple[int, int]
    data_start: int
    tokenizer_digest: str

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def end(self) -> int:
        """Size the file must have at least."""
        return self.data_start + max((t.offset + t.size_bytes for t in self.tensors), default=0)

    def of_architecture(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - any scalar
        """Return `<architecture>.<key>`, for example `llama.block_count`."""
        return self.metadata.get(f"{self.metadata['general.architecture']}.{key}", default)


def read_header(path: Path) -> Header:
    """Read a GGUF header; refuse what is no GGUF file or shorter than it says."""
    try:
        with path.open("rb") as file:
            header = _Reader(file, path).header()
        size = path.stat().st_size
    except OSError as error:
        raise BadWeightsError(f"{path}: cannot be read ({error.strerror})") from error
    except (struct.error, KeyError, UnicodeDecodeError, ValueError) as error:
        raise BadWeightsError(f"{path}: damaged or truncated GGUF header") from error
    if size < header.end:
        raise BadWeightsError(
            f"{path}: truncated, {size} bytes of {header.end}; delete it and get it again "
            f"(`fate models rm NAME` and `fate models pull NAME` for a known model)"
        )
    return header


class _Reader:
    """Walks the file from the front."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self.file, self.path = file, path

    def header(self) -> Header:
        """Read everything in front of the tensor data."""
        if self.file.read(4) != MAGIC:
            raise BadWeightsError(f"{self.path}: not a GGUF file")
        version = self.scalar(4)
        if version not in (2, 3):
            raise BadWeightsError(f"{self.path}: GGUF version {version} is not supported")
        tensor_count, value_count = self.scalar(10), self.scalar(10)
        metadata: dict[str, Any] = {}
        lengths: dict[str, int] = {}
        tokenizer = hashlib.sha256()
        start = self.file.tell()
        for _ in range(value_count):
            entry = self.file.tell()
            key, kind = self.string(), self.scalar(4)
            if kind == ARRAY:
                lengths[key] = self.skip_array()
            else:
                metadata[key] = self.string() if kind == STRING else self.scalar(kind)
            if key.startswith("tokenizer.ggml."):
                tokenizer.update(self.since(entry))
        end = self.file.tell()
        tensors = tuple(self.tensor() for _ in range(tensor_count))
        alignment: int = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        return Header(
            metadata=metadata,
            lengths=lengths,
            tensors=tensors,
            metadata_span=(start, end),
            tokenizer_digest=tokenizer.hexdigest()[:16],
            data_start=-(-self.file.tell() // alignment) * alignment,
        )

    def since(self, start: int) -> bytes:
        """Read again what lies between `start` and here."""
        end = self.file.tell()
        self.file.seek(start)
        return self.file.read(end - start)

    def scalar(self, kind: int) -> Any:  # noqa: ANN401 - any scalar
        """Read one number."""
        form = FORMATS[kind]
        return struct.unpack(form, self.file.read(struct.calcsize(form)))[0]

    def string(self) -> str:
        """Read one length-prefixed string."""
        length = self.scalar(10)
        data = self.file.read(length)
        if len(data) != length:
            raise ValueError(f"string of {length} bytes is cut off")
        return data.decode()

    def skip_array(self) -> int:
        """Pass over an array and return its length."""
        kind, length = self.scalar(4), self.scalar(10)
        if kind == STRING:
            for _ in range(length):
                self.file.seek(self.scalar(10), 1)
        elif kind == ARRAY:
            for _ in range(length):
                self.skip_array()
        else:
            self.file.seek(struct.calcsize(FORMATS[kind]) * length, 1)
        return length

    def tensor(self) -> Tensor:
        """Read one tensor's description."""
        name, dimensions = self.string(), self.scalar(4)
        shape = tuple(self.scalar(10) for _ in range(dimensions))
        return Tensor(name=name, shape=shape, type=self.scalar(4), offset=self.scalar(10))
