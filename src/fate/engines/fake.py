"""An engine without a process, for tests and parity: durations, answers and time are given."""

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from fate.domain.catalog import Device, Model
from fate.engines.base import (
    CallRequest,
    CallResult,
    Capabilities,
    DeviceLostError,
    EngineError,
    EngineInfo,
    LoadResult,
    PromptPart,
    SavedState,
    StateKey,
    check_task,
    require_own,
)

_DIMENSIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeWork:
    """What a duration is asked for; token counts are 0 where they mean nothing."""

    kind: Literal["load", "unload", "prefill", "decode", "save", "restore"]
    device: str
    model: str
    tokens: int = 0
    cached_tokens: int = 0
    sequence: int = -1


class Sleeper(Protocol):
    """What the fake needs of a clock."""

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait."""
        ...


class WallSleeper:
    """Waits for real."""

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await asyncio.sleep(seconds)


def no_time(_work: FakeWork) -> float:
    """Everything takes no time."""
    return 0.0


def digest_answer(request: CallRequest) -> str:
    """Answer with words that depend on the prompt alone, as many as there may be tokens.

    With a schema the answer is a small value that fits it; patterns are beyond it.
    """
    text = "\x00".join(part.text for part in request.parts)
    digest = hashlib.blake2b(f"{request.model}\x00{text}".encode(), digest_size=32).hexdigest()
    if request.schema is not None:
        return json.dumps(_fitting(request.schema, int(digest[:8], 16)))
    return " ".join(digest[(2 * i) % 64 :][:2] for i in range(request.max_tokens))


def _fitting(schema: Mapping[str, Any], number: int) -> Any:  # noqa: ANN401 - what a schema says
    """Return a value that fits a schema; which one of several depends on the number."""
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    match schema.get("type"):
        case "object":
            properties: dict[str, Any] = schema.get("properties", {})
            return {
                key: _fitting(properties.get(key, {}), number)
                for key in schema.get("required", properties)
            }
        case "array":
            length = max(schema.get("minItems", 0), min(1, schema.get("maxItems", 1)))
            return [_fitting(schema.get("items", {}), number + i) for i in range(length)]
        case "boolean":
            return number % 2 == 0
        case "integer" | "number":
            return max(schema.get("minimum", 0), min(number % 10, schema.get("maximum", 9)))
        case _:
            word = f"{number:x}".translate(str.maketrans("0123456789", "ghijklmnop"))
            return (word * (schema.get("minLength", 0) // len(word) + 1))[: schema.get("maxLength")]


def digest_vector(text: str) -> tuple[float, ...]:
    """Return a vector of length one that says which words a text has, not in which order."""
    sums = [0.0] * _DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.blake2b(word.encode(), digest_size=2).digest()
        sums[digest[0] % _DIMENSIONS] += 1.0 if digest[1] % 2 else -1.0
    length = math.hypot(*sums) or 1.0
    return tuple(each / length for each in sums)


def count_tokens(text: str) -> int:
    """Count tokens as the fake does: one for every four characters begun."""
    return -(-len(text) // 4)


class FakeEngine:
    """Keeps to the engine contract and does no work; told what fails, and when.

    Args:
        device: its budget is enforced, its sequences cache prompts part by part.
        models: the models it may load.
        sources: taken for uniformity; there are no weights.
        clock: what time is spent on.
        seconds: how long work takes.
        answer: the text of a call.
    """

    reads_weights = False

    def __init__(
        self,
        device: Device,
        models: tuple[Model, ...],
        sources: Mapping[str, str] | None = None,
        *,
        clock: Sleeper | None = None,
        seconds: Callable[[FakeWork], float] = no_time,
        answer: Callable[[CallRequest], str] = digest_answer,
    ) -> None:
        del sources
        self._device, self._models = device, {model.id: model for model in models}
        self._clock, self._seconds, self._answer = clock or WallSleeper(), seconds, answer
        self._reserved: dict[str, int] = {}
        self._loaded: set[str] = set() if device.managed else set(self._models)
        self._cached: dict[tuple[str, int], tuple[str, ...]] = {}
        self._busy: set[tuple[str, int]] = set()
        self._working: set[asyncio.Future[None]] = set()
        self._lost = True
        self._failures: list[EngineError] = []
        self._lies: list[dict[str, Any]] = []

    @property
    def info(self) -> EngineInfo:
        """Identity, with the digests the models declare."""
        digests = {model.id: model.digest for model in self._models.values()}
        return EngineInfo(name="fake", version="1", models=digests)

    @property
    def capabilities(self) -> Capabilities:
        """What the device declares."""
        return Capabilities(
            prefix=self._device.prefix,
            can_load=self._device.managed,
            can_warm=True,
            embed=True,
            can_save=self._device.prefix == "sequences",
            models=tuple(self._models),
        )

    def fail_next(self, error: EngineError) -> None:
        """Let the next load, unload, warm or call raise `error` instead of doing its work."""
        self._failures.append(error)

    def lie_next(self, **changes: Any) -> None:  # noqa: ANN401 - fields of CallResult
        """Let the next call report other figures than it should."""
        self._lies.append(changes)

    def lose(self) -> None:
        """End the device: what is under way and what comes next raises `DeviceLostError`."""
        self._lost = True
        self._forget()
        for work in tuple(self._working):
            work.cancel()

    async def open(self) -> None:
        """Be there."""
        self._lost = False

    async def load(self, model: str) -> LoadResult:
        """Reserve the model's bytes, or refuse."""
        self._step(model)
        need = self._models[model].footprint_bytes
        if not self._device.managed or model in self._reserved:
            raise EngineError(f"device {self._device.id!r}: {model!r} is loaded already")
        if sum(self._reserved.values()) + need > self._device.memory_bytes:
            raise EngineError(f"device {self._device.id!r}: {model!r} exceeds the declared memory")
        before = sum(self._reserved.values())
        self._reserved[model] = need
        try:
            seconds = await self._spend(FakeWork(kind="load", device=self._device.id, model=model))
        except BaseException:
            self._reserved.pop(model, None)
            raise
        self._loaded.add(model)
        return LoadResult(seconds=seconds, rss_before_bytes=before, rss_after_bytes=before + need)

    async def unload(self, model: str) -> float:
        """Free an idle model's bytes and forget its prompts."""
        self._step(model)
        self._require_loaded(model)
        if not self._device.managed or any(name == model for name, _ in self._busy):
            raise EngineError(f"device {self._device.id!r}: {model!r} cannot be unloaded now")
        self._loaded.discard(model)
        seconds = await self._spend(FakeWork(kind="unload", device=self._device.id, model=model))
        self._reserved.pop(model, None)
        self._cached = {key: path for key, path in self._cached.items() if key[0] != model}
        return seconds

    async def warm(self, model: str, parts: tuple[PromptPart, ...], sequence: int) -> CallResult:
        """Fill a sequence with a prompt, generating nothing."""
        return await self.call(
            CallRequest(model=model, parts=parts, max_tokens=0, sequence=sequence)
        )

    async def call(self, request: CallRequest) -> CallResult:
        """Spend the time of a call and answer."""
        self._step(request.model)
        self._require_loaded(request.model)
        model, texts = self._models[request.model], tuple(part.text for part in request.parts)
        if request.max_tokens or request.embed:  # a warm-up asks for neither
            check_task(model, request)
        counts = tuple(count_tokens(text) for text in texts)
        if sum(counts) > model.context_tokens:
            raise EngineError(
                f"{model.id!r}: the prompt has {sum(counts)} tokens; the context is "
                f"{model.context_tokens}",
                retryable=False,
            )
        slot = (request.model, request.sequence)
        if slot in self._busy and request.sequence >= 0:
            raise EngineError(f"device {self._device.id!r}: sequence {slot[1]} is busy")
        self._busy.add(slot)
        try:
            return await self._answered(request, texts, counts)
        finally:
            self._busy.discard(slot)

    async def save(self, model: str, sequence: int) -> SavedState:
        """Remember what a sequence holds."""
        self._require_idle(model, sequence)
        work = FakeWork(kind="save", device=self._device.id, model=model, sequence=sequence)
        held = self._cached.get((model, sequence), ())
        size = sum(map(count_tokens, held)) * self._models[model].kv_bytes_per_token
        seconds = await self._spend(work)
        return SavedState(key=self._key(model), size_bytes=size, seconds=seconds, held=held)

    async def restore(self, model: str, sequence: int, state: SavedState) -> float:
        """Let a sequence hold what a state says."""
        self._require_idle(model, sequence)
        require_own(self._key(model), state, self._device.id)
        work = FakeWork(kind="restore", device=self._device.id, model=model, sequence=sequence)
        seconds = await self._spend(work)
        self._cached[model, sequence] = state.held
        return seconds

    def landing(self, state: SavedState) -> SavedState:
        """There are no files: a state lies everywhere."""
        return state

    async def healthy(self) -> bool:
        """Whether it is open and not lost."""
        return not self._lost

    async def restart(self) -> None:
        """Come back empty."""
        self.lose()
        self._lost = False

    async def close(self) -> None:
        """End what is under way."""
        self.lose()

    async def _answered(
        self, request: CallRequest, texts: tuple[str, ...], counts: tuple[int, ...]
    ) -> CallResult:
        """Work through prompt and answer; the sequence then holds both."""
        slot, total = (request.model, request.sequence), sum(counts)
        cached = min(self._hit(slot, texts, counts), max(total - 1, 0))
        text = self._answer(request) if request.max_tokens else ""
        output = request.max_tokens if request.exact_tokens else len(text.split())
        output = min(output, request.max_tokens)

        def work(kind: Literal["prefill", "decode"], tokens: int, held: int) -> FakeWork:
            name = self._device.id
            return FakeWork(
                kind=kind, device=name, model=request.model, tokens=tokens, cached_tokens=held
            )

        prefill_s = await self._spend(work("prefill", total - cached, cached))
        decode_s = await self._spend(work("decode", output, total)) if request.max_tokens else 0.0
        if request.sequence >= 0:
            self._cached[slot] = (*texts, text) if text else texts
        result = CallResult(
            text=text,
            prompt_tokens=total,
            cached_tokens=cached,
            output_tokens=output,
            prefill_s=prefill_s,
            decode_s=decode_s,
            part_tokens=counts,
            finish="length" if output == request.max_tokens else "stop",
            vector=digest_vector("".join(texts)) if request.embed else None,
        )
        return replace(result, **self._lies.pop(0)) if self._lies else result

    def _hit(self, slot: tuple[str, int], texts: tuple[str, ...], counts: tuple[int, ...]) -> int:
        """Return the tokens of the leading parts that the sequence holds."""
        held, total = self._cached.get(slot, ()), 0
        for text, other, count in zip(texts, held, counts, strict=False):
            if text != other:
                break
            total += count
        return total

    async def _spend(self, work: FakeWork) -> float:
        """Let time pass; a lost device ends it."""
        seconds = self._seconds(work)
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        self._working.add(sleep)
        try:
            await sleep
        except asyncio.CancelledError:
            if self._lost:
                raise self._lost_error() from None
            raise
        finally:
            self._working.discard(sleep)
        return seconds

    def _step(self, model: str) -> None:
        """Refuse on a lost device, an unknown model, or because a test says so."""
        if self._lost:
            raise self._lost_error()
        if self._failures:
            raise self._failures.pop(0)
        if model not in self._models:
            raise EngineError(f"device {self._device.id!r} has no model {model!r}", retryable=False)

    def _require_loaded(self, model: str) -> None:
        """Refuse work on a model that is not there."""
        if model not in self._loaded:
            raise EngineError(f"device {self._device.id!r}: {model!r} is not loaded")

    def _require_idle(self, model: str, sequence: int) -> None:
        """Refuse to touch a sequence that is not there or is in use."""
        self._step(model)
        self._require_loaded(model)
        if not 0 <= sequence < self._device.sequences or (model, sequence) in self._busy:
            raise EngineError(f"device {self._device.id!r}: no idle sequence {sequence}")

    def _key(self, model: str) -> StateKey:
        return StateKey(weights=self._models[model].digest or model, engine="fake 1", cache="parts")

    def _forget(self) -> None:
        """Hold nothing any more."""
        self._reserved.clear()
        self._cached.clear()
        self._loaded = set() if self._device.managed else set(self._models)

    def _lost_error(self) -> DeviceLostError:
        return DeviceLostError(f"device {self._device.id!r} is lost")
