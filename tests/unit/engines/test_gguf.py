"""GGUF files: read, refused when damaged, written with the same bytes every time."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.devices import TINY

from fate.engines.gguf_header import BadWeightsError, read_header
from fate.engines.gguf_make import Floats, Quantization, dequantize, quantize, requantize
from fate.engines.gguf_synthetic import SyntheticSpec, synthetic, vocabulary
from fate.engines.known import KNOWN, Synthetic
from fate.engines.models import facts_of_file

SMALL = SyntheticSpec(layers=1, heads=1, kv_heads=1, feed_forward=64)
Q4_0, Q4_1, Q8_0 = 2, 3, 8


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small file."""
    path = tmp_path / "small.gguf"
    synthetic(path, SMALL)
    return path


def values(rows: int = 8) -> Floats:
    """Numbers as weights have them."""
    return np.random.default_rng(0).standard_normal(32 * rows).astype(np.float32)


def test_a_header_tells_shape_and_needs(file: Path) -> None:
    """Sizes come from the file alone."""
    header, facts = read_header(file), facts_of_file(file)
    assert header.metadata["general.architecture"] == "llama"
    assert header.lengths["tokenizer.ggml.tokens"] == len(vocabulary(triples=False)[0])
    assert header.end == file.stat().st_size
    assert facts.kv_bytes_per_token == 2 * 1 * 64 * 2
    assert facts.weight_bytes > header.weight_bytes and facts.context_tokens == 2048


@pytest.mark.parametrize("size", [0, 3, 10, 100, 5000, -1])
def test_a_truncated_file_is_refused_in_one_line(file: Path, size: int) -> None:
    """Wherever it ends, the message names the file."""
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(BadWeightsError, match=r"small\.gguf") as error:
        read_header(file)
    assert "\n" not in str(error.value)


def test_what_is_no_gguf_or_not_there_is_refused(tmp_path: Path) -> None:
    """A wrong path or a wrong file is told apart."""
    with pytest.raises(BadWeightsError, match="cannot be read"):
        read_header(tmp_path / "missing.gguf")
    (tmp_path / "text").write_text("hello world, this is no model")
    with pytest.raises(BadWeightsError, match="not a GGUF file"):
        read_header(tmp_path / "text")
    with pytest.raises(BadWeightsError, match="cannot be read"):
        read_header(tmp_path)


def test_the_same_tokenizer_has_the_same_digest(tmp_path: Path) -> None:
    """Models that cut text alike are known by it."""
    specs = {"a": SMALL, "b": TINY, "c": replace(SMALL, triples=True)}
    digests: dict[str, str] = {}
    for name, spec in specs.items():
        synthetic(tmp_path / name, spec)
        digests[name] = facts_of_file(tmp_path / name).tokenizer
    assert digests["a"] == digests["b"] != digests["c"]


@pytest.mark.parametrize("name", [n for n, m in KNOWN.items() if isinstance(m.source, Synthetic)])
def test_random_models_have_the_bytes_the_table_says(name: str, tmp_path: Path) -> None:
    """Same spec, same file, on every machine and with every numpy."""
    model = KNOWN[name]
    assert isinstance(model.source, Synthetic)
    synthetic(tmp_path / name, model.source.spec)
    data = (tmp_path / name).read_bytes()
    assert len(data) == model.file_bytes
    assert hashlib.sha256(data).hexdigest() == model.facts.digest
    assert facts_of_file(tmp_path / name).kv_bytes_per_token == model.facts.kv_bytes_per_token


@pytest.mark.parametrize(("to", "kind", "worst"), [("Q8_0", Q8_0, 0.02), ("Q4_0", Q4_0, 0.3)])
def test_quantised_numbers_are_near_and_zero_stays_zero(
    to: Quantization, kind: int, worst: float
) -> None:
    """The error is bounded by the step of the quantisation."""
    numbers = values()
    numbers[:32] = 0.0
    back = dequantize(quantize(numbers, to), kind)
    assert np.abs(back - numbers).max() < worst and not back[:32].any()


def test_quantisation_is_llama_cpps() -> None:
    """A block worked out by hand: the largest number in magnitude sets the scale."""
    numbers = np.zeros(32, np.float32)
    numbers[0], numbers[1], numbers[16] = -8.0, 7.0, 2.4
    raw = quantize(numbers, "Q4_0")
    assert raw[:2].view(np.float16)[0] == 1.0
    assert raw[2] == 0 | (10 << 4) and raw[3] == 15 | (8 << 4) and raw[4] == 8 | (8 << 4)
    assert dequantize(raw, Q4_0)[[0, 1, 16, 17]].tolist() == [-8.0, 7.0, 2.0, 0.0]
    eight = quantize(np.full(32, -127.0, np.float32), "Q8_0")
    assert eight[:2].view(np.float16)[0] == 1.0 and eight[2:].view(np.int8).tolist() == [-127] * 32


def test_blocks_with_an_offset_are_read() -> None:
    """Q4_1 is scale times nibble plus the lowest."""
    head = np.array([0.5, -1.0], np.float16).view(np.uint8)
    raw = np.concatenate([head, np.full(16, 0x31, np.uint8)])
    assert dequantize(raw, Q4_1).tolist() == [-0.5] * 16 + [0.5] * 16
    with pytest.raises(BadWeightsError, match="type 14"):
        dequantize(raw, 14)


def test_requantising_keeps_everything_but_the_matrices(file: Path, tmp_path: Path) -> None:
    """Metadata and vectors are copied, the label says what the matrices are now."""
    outputs = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for output in outputs:
        requantize(file, output, "F16")
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    before, after = read_header(file), read_header(outputs[0])
    assert after.metadata == {**before.metadata, "general.file_type": 1}
    assert after.tokenizer_digest == before.tokenizer_digest
    assert [t.shape for t in after.tensors] == [t.shape for t in before.tensors]
    assert {t.type for t in after.tensors} == {0, 1}
