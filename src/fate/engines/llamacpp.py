"""The embedded engine: llama.cpp in a process per device, loaded and unloaded for real."""

import asyncio
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
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
    SavedState,
    StateKey,
    check_task,
    require_own,
)
from fate.engines.gguf_header import BadWeightsError, read_header
from fate.engines.llamacpp_api import (
    call_result,
    check_fits,
    completion_body,
    embedding_result,
)
from fate.engines.llamacpp_process import DeviceChild
from fate.engines.llamacpp_prompt import SHARED_TOKENS, EncodedPrompt, PromptEncoder
from fate.engines.llamacpp_server import ModelServer
from fate.engines.llamacpp_states import CACHE_LAYOUT, StateFolder, saved_state, states_root

HEALTH_TIMEOUT_S = 2.0
#: A process without an answer in time has too much to do if it used this much CPU time meanwhile
#: [s]; one that is silent for longer than the second hangs all the same [s].
AT_WORK_S, SILENCE_S = 0.02, 20.0
#: Unloads take milliseconds; a device that does not finish one is stuck and is killed [s].
UNLOAD_TIMEOUT_S = 10.0


class LlamaCppEngine:
    """One pinned llama.cpp process that holds as many models as its declared memory allows.

    Args:
        device: where to run; its `cores` are the process's, its `memory_bytes` the budget the
            process enforces, its `sequences` the cache slots of each model.
        models: the models that may be loaded.
        sources: the weights file of each model.
        log_dir: where the engine's log goes; a temporary folder if None.
        states_dir: where KV states are saved, each device in a private folder of its own that
            goes with it; `llamacpp_states.states_root()` if None.
    """

    def __init__(
        self,
        device: Device,
        models: tuple[Model, ...],
        sources: Mapping[str, str],
        *,
        log_dir: Path | None = None,
        states_dir: Path | None = None,
    ) -> None:
        self._device = device
        self._models = {model.id: model for model in models}
        self._sources = dict(sources)
        self._log_dir = log_dir
        self._states = StateFolder(device.id, states_dir or states_root())
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._child: DeviceChild | None = None
        self._session: aiohttp.ClientSession | None = None
        self._servers: dict[str, ModelServer] = {}
        self._version = ""
        self._silent_since_s = float("inf")

    @property
    def info(self) -> EngineInfo:
        """Name and version of the engine, digests of its models."""
        digests = {model.id: model.digest for model in self._models.values()}
        return EngineInfo(name="llamacpp", version=self._version, models=digests)

    @property
    def capabilities(self) -> Capabilities:
        """Loads, warms, saves states, and reuses prefixes in slots chosen by the caller."""
        return Capabilities(
            prefix="sequences",
            can_load=True,
            can_warm=True,
            embed=True,
            can_save=True,
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
        loading = asyncio.ensure_future(self._load(self._known(model)))
        # When the caller is gone nobody else hears that the device was lost under the load.
        loading.add_done_callback(lambda load: load.cancelled() or load.exception())
        return await asyncio.shield(loading)

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
        slot = server.take_slot(request.sequence)
        try:
            encoded = await server.encoder.encode(request.parts, server.post, chat=request.chat)
            check_fits(server.model, encoded, request)
            if request.embed:
                answer = await server.embed(encoded)
                return embedding_result(answer, encoded, time.perf_counter() - began_s)
            answer = await server.complete(slot, completion_body(request, encoded, slot))
        finally:
            server.running.discard(slot)
        result = call_result(answer, encoded, request)
        if answer["stop_type"] in ("limit", "eos"):  # a stop word is cut out of the text
            server.encoder.wrote(result.text, answer["tokens"])
        # Tokenising and transport count as prefill: whoever plans pays for them too.
        return replace(result, prefill_s=time.perf_counter() - began_s - result.decode_s)

    async def save(self, model: str, sequence: int) -> SavedState:
        """Save an idle slot's KV state; nothing is left of one that could not be written."""
        server, path = self._server(model), self._states.fresh()
        try:
            done = await server.slot_action(sequence, "save", path)
            return saved_state(path, self._key(server.model), *done)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    async def restore(self, model: str, sequence: int, state: SavedState) -> float:
        """Bring a KV state into an idle slot; its file stays."""
        server = self._server(model)
        require_own(self._key(server.model), state, self._device.id)
        if state.path is None or state.path.parent != self._states.path:
            raise EngineError(f"device {self._device.id!r}: this KV state lies elsewhere")
        return (await server.slot_action(sequence, "restore", state.path))[2]

    def landing(self, state: SavedState) -> SavedState:
        """Return a state's place in this device's folder."""
        return replace(state, path=self._states.fresh())

    async def healthy(self) -> bool:
        """Whether the device process answers, also while it loads or computes.

        On a machine with too much to do an answer may take seconds: a process that gets on with its
        work meanwhile is not to be killed for it.
        """
        child = self._child
        if child is None or child.lost:
            return False
        began_s, before_s = time.monotonic(), child.cpu_s()
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self.ping()
        except EngineError:
            return False
        except TimeoutError:
            self._silent_since_s = min(self._silent_since_s, began_s)
            silent_s = time.monotonic() - self._silent_since_s
            at_work = child.cpu_s() >= before_s + AT_WORK_S
            return at_work and silent_s < SILENCE_S and not child.lost
        self._silent_since_s = float("inf")
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
        self._states.close()
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
        self._states.open()
        self._child = DeviceChild(self._device, folder / f"{self._device.id}.log")
        await self._child.start()
        self._version, self._silent_since_s = self._child.version, float("inf")

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
            states=str(self._states.path),
        )
        encoder = PromptEncoder(
            model.tokenizer or model.id,
            SHARED_TOKENS,
            has_template="tokenizer.chat_template" in header.metadata,
        )
        assert self._session is not None
        self._servers[model.id] = ModelServer(
            self._device, model, reply["address"], encoder, child, self._session
        )
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

    def _key(self, model: Model) -> StateKey:
        """Return what states of a model fit: its digest, or its file where none is known."""
        weights = model.digest
        if not weights:
            file = Path(self._sources[model.id])
            weights = f"{file.resolve()} of {file.stat().st_mtime_ns}"
        return StateKey(weights=weights, engine=f"llamacpp {self._version}", cache=CACHE_LAYOUT)

    def _check_fits(self, model: Model, encoded: EncodedPrompt, request: CallRequest) -> None:
        """Refuse a prompt the context cannot hold, with the counts."""
        prompt = len(encoded.tokens)
        need = prompt + (request.max_tokens if request.exact_tokens else 1)
        if need > model.context_tokens:
            raise EngineError(
                f"{model.id!r}: the prompt has {prompt} tokens and the answer needs room for "
                f"{need - prompt}; the context is {model.context_tokens}. Shorten the prompt or "
                f"raise the model's context in the cluster file.",
                retryable=False,
            )
        if not prompt:
            raise EngineError(f"{model.id!r}: the prompt is empty", retryable=False)
