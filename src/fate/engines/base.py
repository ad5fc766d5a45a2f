"""The engine contract: what the runtime asks of a device, and what it gets back.

An engine is one device: the runtime opens it, drives it with the methods below from one asyncio
loop, and closes it. Texts appear here and in the expander only; the core never sees them.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from fate.domain.catalog import Device, Model, PrefixKind
from fate.domain.errors import FateError

Role: TypeAlias = Literal["system", "user"]


class EngineError(FateError):
    """An engine failed an activity. `retryable` is False where a retry must fail the same way."""

    code = "engine"

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        self.retryable = retryable
        super().__init__(message)


class BusyError(EngineError):
    """A server asks to be left alone for `wait_s` seconds; neither it nor the call has failed."""

    code = "busy"

    def __init__(self, message: str, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(message)


class DeviceLostError(EngineError):
    """The device process or server is gone, and with it everything it held."""

    code = "device-lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPart:
    """A piece of a prompt. Parts with equal `key` have equal `text`; cuts fall between parts."""

    key: str
    text: str
    role: Role = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """One model call. `sequence` is the cache slot to use, -1 where the engine picks.

    `schema` is a JSON Schema the answer must satisfy, `exact_tokens` asks for exactly
    `max_tokens` tokens (benchmarks need equal work). `chat` False sends the parts as raw text,
    without the model's chat template. `embed` asks for the text's vector instead of an answer, of
    a model whose task that is.
    """

    model: str
    parts: tuple[PromptPart, ...]
    max_tokens: int
    sequence: int = -1
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    exact_tokens: bool = False
    chat: bool = True
    embed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """A finished call as the engine measured it.

    `cached_tokens` of the `prompt_tokens` came from the KV cache. `part_tokens` counts each
    part's tokens where the engine knows (empty otherwise). `finish` is why generation ended.
    `vector` is the answer of a call with `embed`, whose text is empty.
    """

    text: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    prefill_s: float
    decode_s: float
    part_tokens: tuple[int, ...] = ()
    finish: Literal["stop", "length"] = "stop"
    vector: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """A finished load: seconds, and the device process's resident set before and after [B]."""

    seconds: float
    rss_before_bytes: int = 0
    rss_after_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StateKey:
    """What a KV state fits: an engine may take a foreign one without a word, and answer nonsense.

    `weights` identifies the model's file, `engine` is name and version, `cache` the settings that
    give the state its layout.
    """

    weights: str
    engine: str
    cache: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """A sequence's KV state outside the engine: private data, to be discarded after use.

    `path` is its file, where the engine has files; one without keeps what it needs in `held`.
    `seconds` is what saving took.
    """

    key: StateKey
    size_bytes: int
    seconds: float = 0.0
    path: Path | None = None
    held: tuple[str, ...] = ()

    def discard(self) -> None:
        """Remove the file; no matter if it is gone already."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do; the core plans within it. `embed`: it runs models of that task."""

    prefix: PrefixKind
    can_load: bool
    can_cancel_load: bool = False
    can_warm: bool = False
    can_save: bool = False
    embed: bool = False
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """Identity of an engine, for summaries: name, version, digests of the models by id."""

    name: str
    version: str
    models: dict[str, str] = field(default_factory=dict[str, str])


class Engine(Protocol):
    """One device that really does the work.

    Cancelling the asyncio task of `call` or `warm` frees the compute slot before it returns.
    Methods raise `EngineError`, or `DeviceLostError` when the device is gone; after that
    `restart` brings it back empty. Checked by tests/contract/test_engines.py.
    """

    @property
    def info(self) -> EngineInfo:
        """Identity; final once `open` has returned."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do; final once `open` has returned."""
        ...

    async def open(self) -> None:
        """Start or connect; after this, calls are possible. Loads nothing."""
        ...

    async def load(self, model: str) -> LoadResult:
        """Load a model's weights; refuses when the declared memory would be exceeded."""
        ...

    async def unload(self, model: str) -> float:
        """Drop a model and its prefixes; return seconds."""
        ...

    async def warm(self, model: str, parts: tuple[PromptPart, ...], sequence: int) -> CallResult:
        """Prefill a prefix into a sequence slot, generating nothing."""
        ...

    async def call(self, request: CallRequest) -> CallResult:
        """Run one call to its end."""
        ...

    async def save(self, model: str, sequence: int) -> SavedState:
        """Save the KV state of an idle sequence on the device's disk; raise if that fails."""
        ...

    async def restore(self, model: str, sequence: int, state: SavedState) -> float:
        """Bring a state into an idle sequence; return seconds. Foreign states are refused.

        The state must lie where this device reads it: saved here, or copied to its `landing`.
        """
        ...

    def landing(self, state: SavedState) -> SavedState:
        """Return where a state saved on another device is to be copied before it is restored."""
        ...

    async def healthy(self) -> bool:
        """Whether the device answers, quickly."""
        ...

    async def restart(self) -> None:
        """Bring a lost device back, with nothing loaded."""
        ...

    async def close(self) -> None:
        """End everything this engine started; idempotent, leaves no process behind."""
        ...


def check_task(model: Model, request: CallRequest) -> None:
    """Refuse a call for a vector of a model that generates, and the other way round."""
    if request.embed != (model.task == "embed"):
        wanted = "a vector" if request.embed else "text"
        raise EngineError(
            f"{model.id!r} cannot give {wanted}: its task is {model.task!r}", retryable=False
        )


def require_own(key: StateKey, state: SavedState, device: str) -> None:
    """Refuse a state that was saved by other weights, another engine, or with another layout.

    Raises:
        EngineError: naming what differs; a retry fails the same way.
    """
    for name in ("weights", "engine", "cache"):
        own, foreign = getattr(key, name), getattr(state.key, name)
        if own != foreign:
            raise EngineError(
                f"device {device!r}: a KV state of other {name} ({foreign!r}, here {own!r}) is "
                f"refused",
                retryable=False,
            )


class EngineFactory(Protocol):
    """How the registry's `engine` entries are called: one engine for one device.

    `models` are those the device may load, `sources` says where each one is: a weights file for
    engines that load, the remote name for engines that do not. `options` are the engine's own.
    Weights are not fetched for a factory whose attribute `reads_weights` is False.
    """

    def __call__(
        self,
        device: Device,
        models: tuple[Model, ...],
        sources: Mapping[str, str],
        **options: Any,  # noqa: ANN401 - each engine has its own
    ) -> Engine:
        """Build the engine; starts nothing."""
        ...
