"""The embedded engine: llama.cpp in a process per device, loaded and unloaded for real."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

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
    check_task,
)
from fate.engines.gguf_header import BadWeightsError, read_header
from fate.engines.llamacpp_api import (
    call_result,
    check_fits,
    completion_body,
    embedding_result,
)
from fate.engines.llamacpp_process import DeviceChild
from fate.engines.llamacpp_prompt import EncodedPrompt, PromptEncoder, TokenCache

#: After a broken connection: how long the process may take to show that it died [s].
DEATH_NOTICE_S = 1.0
#: A cancelled call frees its slot after one batch of 64 tokens; a device that has not done so by
#: then is stuck and is killed [s].
DRAIN_TIMEOUT_S = 15.0
DRAIN_POLL_S = 0.005
HEALTH_TIMEOUT_S = 2.0
#: Unloads take milliseconds; a device that does not finish one is stuck and is killed [s].
UNLOAD_TIMEOUT_S = 10.0


@dataclass(slots=True)
class ModelServer:
    """A loaded model: where its server listens, its prompt encoder, its busy cache slots."""

    model: Model
    address: str
    encoder: PromptEncoder
    running: set[int] = field(default_factory=set[int])


class LlamaCppEngine:
    """One pinned llama.cpp process that holds as many models as its declared memory allows.

    Args:
        device: where to run; its `cores` are the process's, its `memory_bytes` the budget the
            process enforces, its `sequences` the cache slots of each model.
        models: the models that may be loaded.
        sources: the weights file of each model.
        log_dir: where the engine's log goes; a temporary folder if None.
    """

    def __init__(
        self,
        device: Device,
        models: tuple[Model, ...],
        sources: Mapping[str, str],
        *,
        log_dir: Path | None = None,
    ) -> None:
        self._device = device
        self._models = {model.id: model for model in models}
        self._sources = dict(sources)
        self._log_dir = log_dir
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._child: DeviceChild | None = None
        self._session: aiohttp.ClientSession | None = None
        self._servers: dict[str, ModelServer] = {}
        self._tokens = TokenCache()
        self._version = ""

    @property
    def info(self) -> EngineInfo:
        """Name and version of the engine, digests of its models."""
        digests = {model.id: model.digest for model in self._models.values()}
        return EngineInfo(name="llamacpp", version=self._version, models=digests)

    @property
    def capabilities(self) -> Capabilities:
        """Loads, warms, and reuses prefixes in slots chosen by the caller."""
        return Capabilities(
            prefix="sequences",
            can_load=True,
            can_warm=True,
            embed=True,
            models=tuple(self._models),
        )

    @property
    def pid(self) -> int:
        """Process id of the device process."""
        return self._alive().pid

    def endpoint(self, model: str) -> tuple[str, str]:
        """Return the address of a loaded model's server and the key it asks for."""
        return self._server(model).address, self._alive().api_key

    async def open(self) -> None:
        """Start the device process; loads nothing."""
        if self._log_dir is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="fate-")
        # A new connection per request: the server closes idle ones after five seconds.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
        )
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def load(self, model: str) -> LoadResult:
        """Load a model; the device process refuses what exceeds its budget.

        A load cannot be cancelled: when the caller's task is, it goes on and the model counts as
        loaded once it is.
        """
        return await asyncio.shield(asyncio.ensure_future(self._load(self._known(model))))

    async def unload(self, model: str) -> float:
        """Drop an idle model and return the seconds it took."""
        server = self._server(model)
        if server.running:
            raise EngineError(f"device {self._device.id!r}: {model!r} is answering a call")
        child = self._alive()
        del self._servers[model]
        try:
            async with asyncio.timeout(UNLOAD_TIMEOUT_S):
                reply = await child.request("unload", model=model)
        except TimeoutError:
            await child.kill()
            raise child.lost_error() from None
        return float(reply["seconds"])

    async def warm(self, model: str, parts: tuple[PromptPart, ...], sequence: int) -> CallResult:
        """Prefill a prompt into a cache slot, generating nothing."""
        return await self.call(
            CallRequest(model=model, parts=parts, max_tokens=0, sequence=sequence)
        )

    async def call(self, request: CallRequest) -> CallResult:
        """Run one call in its cache slot."""
        began_s, server = time.perf_counter(), self._server(request.model)
        if request.max_tokens or request.embed:  # a warm-up asks for neither
            check_task(server.model, request)
        slot = self._take_slot(server, request.sequence)
        try:
            encoded = await server.encoder.encode(
                request.parts, lambda path, body: self._post(server, path, body), chat=request.chat
            )
            check_fits(server.model, encoded, request)
            if request.embed:
                answer = await self._embed(server, encoded)
                return embedding_result(answer, encoded, time.perf_counter() - began_s)
            answer = await self._complete(server, slot, completion_body(request, encoded, slot))
        finally:
            server.running.discard(slot)
        result = call_result(answer, encoded, request)
        # Tokenising and transport count as prefill: whoever plans pays for them too.
        return replace(result, prefill_s=time.perf_counter() - began_s - result.decode_s)

    async def healthy(self) -> bool:
        """Whether the device process answers, also while it loads or computes."""
        if self._child is None or self._child.lost:
            return False
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self.ping()
        except (TimeoutError, EngineError):
            return False
        return True

    async def ping(self) -> dict[str, Any]:
        """Return what the device process says of itself, also while it loads.

        `rss_bytes` is the memory it really holds, `reserved_bytes` what its models declare,
        `models` those that are loaded.
        """
        return await self._alive().request("ping")

    async def restart(self) -> None:
        """Replace the device process by a fresh, empty one."""
        if self._child is not None:
            await self._child.kill()
        await self._start()

    async def close(self) -> None:
        """End the device process and forget everything."""
        self._servers.clear()
        if self._child is not None:
            await self._child.quit()
            self._child = None
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    async def _start(self) -> None:
        """Start a device process with nothing in it."""
        self._servers.clear()
        folder = self._log_dir or Path(self._scratch.name if self._scratch else ".")
        folder.mkdir(parents=True, exist_ok=True)
        self._child = DeviceChild(self._device, folder / f"{self._device.id}.log")
        await self._child.start()
        self._version = self._child.version

    async def _load(self, model: Model) -> LoadResult:
        """Check the file, have it loaded, and remember its server.

        The seconds are what the caller waits: more than the load inside the device process.
        """
        began_s, path = time.perf_counter(), Path(self._sources[model.id])
        try:
            header = await asyncio.to_thread(read_header, path)
        except BadWeightsError as error:
            raise EngineError(str(error), retryable=False) from error
        child = self._alive()
        reply = await child.request(
            "load",
            model=model.id,
            path=str(path),
            reserved_bytes=model.footprint_bytes,
            context_tokens=model.context_tokens,
            sequences=self._device.slots if model.task == "embed" else self._device.sequences,
            embed=model.task == "embed",
            pools=bool(header.of_architecture("pooling_type", 0)),
        )
        encoder = PromptEncoder(
            model.tokenizer or model.id,
            self._tokens,
            has_template="tokenizer.chat_template" in header.metadata,
        )
        self._servers[model.id] = ModelServer(model, reply["address"], encoder)
        return LoadResult(
            seconds=time.perf_counter() - began_s,
            rss_before_bytes=reply["rss_before_bytes"],
            rss_after_bytes=reply["rss_after_bytes"],
        )

    def _alive(self) -> DeviceChild:
        """Return the running device process, or raise that it is lost."""
        if self._child is None:
            raise DeviceLostError(f"device {self._device.id!r} is not open")
        if self._child.lost:
            raise self._child.lost_error()
        return self._child

    def _known(self, model: str) -> Model:
        """Return a model this device may load."""
        if model not in self._models or model not in self._sources:
            names = ", ".join(self._models) or "none"
            raise EngineError(
                f"device {self._device.id!r} has no model {model!r}; it has: {names}",
                retryable=False,
            )
        return self._models[model]

    def _server(self, model: str) -> ModelServer:
        """Return the server of a loaded model."""
        self._alive()
        if model not in self._servers:
            raise EngineError(f"device {self._device.id!r}: {model!r} is not loaded")
        return self._servers[model]

    def _take_slot(self, server: ModelServer, sequence: int) -> int:
        """Occupy the cache slot asked for, or the first idle one."""
        idle = [slot for slot in range(self._device.sequences) if slot not in server.running]
        if sequence >= 0 and sequence not in idle:
            raise EngineError(
                f"device {self._device.id!r}: {server.model.id!r} has no idle cache slot "
                f"{sequence} of {self._device.sequences}"
            )
        if not idle:
            raise EngineError(f"device {self._device.id!r}: {server.model.id!r} is busy")
        slot = sequence if sequence >= 0 else idle[0]
        server.running.add(slot)
        return slot

    async def _complete(
        self, server: ModelServer, slot: int, body: dict[str, Any]
    ) -> dict[str, Any]:
        """Run a completion; when cancelled, return only once the slot computes no more."""
        try:
            return await self._stream(server, body)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.ensure_future(self._drain(server, slot)))
            raise

    async def _stream(self, server: ModelServer, body: dict[str, Any]) -> dict[str, Any]:
        """Read a streamed completion; return its last event with the whole text.

        Streaming with progress is what makes cancellation quick: the server notices a closed
        socket when it writes, which it then does after every batch and every token.
        """
        text: list[str] = []
        async with self._http(server, "POST", "/completion", body) as response:
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                event: dict[str, Any] = json.loads(line[len(b"data: ") :])
                if "error" in event:
                    raise self._refused(server, "/completion", event, 500)
                text.append(event.get("content", ""))
                if event.get("stop"):
                    return {**event, "content": "".join(text)}
        raise EngineError(f"device {self._device.id!r}: {server.model.id!r} stopped mid-answer")

    async def _embed(self, server: ModelServer, encoded: EncodedPrompt) -> dict[str, Any]:
        """Ask for a text's vector; when cancelled, return once its one batch is computed."""
        post = asyncio.ensure_future(
            self._post(server, "/v1/embeddings", {"input": encoded.tokens})
        )
        try:
            return await asyncio.shield(post)
        except asyncio.CancelledError:
            await asyncio.gather(post, return_exceptions=True)
            raise

    async def _drain(self, server: ModelServer, slot: int) -> None:
        """Wait until a slot is idle; kill a device that does not get there."""
        child = self._alive()
        with contextlib.suppress(EngineError, TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while await self._slot_computes(server, slot):  # noqa: ASYNC110 - elsewhere
                    await asyncio.sleep(DRAIN_POLL_S)
                return
        await child.kill()

    async def _slot_computes(self, server: ModelServer, slot: int) -> bool:
        """Whether a slot has work."""
        async with self._http(server, "GET", "/slots") as response:
            slots: list[dict[str, Any]] = await response.json(content_type=None)
        return any(entry["id"] == slot and entry["is_processing"] for entry in slots)

    async def _post(self, server: ModelServer, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post JSON to a model's server and return the answer."""
        async with self._http(server, "POST", path, body) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
        return answer

    @contextlib.asynccontextmanager
    async def _http(
        self, server: ModelServer, method: str, path: str, body: dict[str, Any] | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Do one HTTP request; tell a lost device from an error the server reports."""
        child = self._alive()
        assert self._session is not None
        headers = {"Authorization": f"Bearer {child.api_key}"}
        try:
            async with self._session.request(
                method, server.address + path, json=body, headers=headers
            ) as response:
                if response.status != 200:
                    answer: dict[str, Any] = await response.json(content_type=None)
                    raise self._refused(server, path, answer, response.status)
                yield response
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if await child.ended_within(DEATH_NOTICE_S):
                raise child.lost_error() from error
            raise EngineError(
                f"device {self._device.id!r}: no answer from the engine ({error}){child.log_tail()}"
            ) from error

    def _refused(
        self, server: ModelServer, path: str, answer: dict[str, Any], status: int
    ) -> EngineError:
        """Make an error of what the server reports; a bad request stays one when retried."""
        message = answer.get("error", {}).get("message", answer)
        return EngineError(
            f"device {self._device.id!r}: {server.model.id!r} refused {path}: {message}",
            retryable=status >= 500,
        )
