"""Any server with an OpenAI-compatible API, as a device whose models are there already."""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from fate.domain.catalog import Device, Model
from fate.domain.errors import FateError
from fate.engines.base import (
    BusyError,
    CallRequest,
    CallResult,
    Capabilities,
    DeviceLostError,
    EngineError,
    EngineInfo,
    LoadResult,
    PromptPart,
    SavedState,
    check_task,
)
from fate.engines.openai_answer import STRANGE, Answer, counted, estimated_tokens, one_line
from fate.engines.openai_api import events, request_body, retry_after_s, text_of, whole

#: Fields some servers refuse; left out from then on where one does.
OPTIONAL_FIELDS = ("stream_options", "seed")
#: Statuses that may go away by themselves; other 4xx stay.
PASSING = (408, 409, 425, 429)
#: Statuses of an endpoint that a server does not have.
ABSENT = (400, 404, 405, 501)
#: Pieces of a stream for each token asked for, at most: some servers send a token in parts.
PIECES_PER_TOKEN = 8
#: A server that asks to wait 0 s is not asked again at the same instant [s].
SHORTEST_WAIT_S = 0.1
#: Bytes read at most of an error.
LONGEST_ERROR = 4_096
#: A server that does not even take a connection by then is not there [s].
CONNECT_TIMEOUT_S = 10.0
HEALTH_TIMEOUT_S = 5.0
#: How long one `restart` waits for a server that is gone, and how often it looks [s].
RESTART_WAIT_S, RESTART_POLL_S = 30.0, 0.5


class OpenAIEngine:
    """A server with an OpenAI-compatible API: it has its models loaded and counts its own slots.

    Nothing but `/chat/completions` and `/completions` is assumed, and `/embeddings` where a model's
    task is that. Answers are streamed, which tells prefill from decode and lets the server notice a
    cancelled call. Usage is taken from the server where it reports it and estimated from lengths
    otherwise. `exact_tokens` is a wish: the API has no way to ask for it. Where the server says how
    long to wait before a call (`Retry-After`), that is a `BusyError`: nobody waits in here.

    Args:
        device: where calls are counted; its `slots` are how many calls the server takes at once.
        models: the models it serves.
        sources: the server's name of each model.
        base_url: the API's address, `http://host:port/v1`.
        api_key_env: name of the environment variable that holds the key, empty for none.
        silence_s: how long the server may say nothing, before and during an answer [s].
    """

    def __init__(
        self,
        device: Device,
        models: tuple[Model, ...],
        sources: Mapping[str, str],
        *,
        base_url: str,
        api_key_env: str = "",
        silence_s: float = 300.0,
    ) -> None:
        self._device = device
        self._models = {model.id: model for model in models}
        self._names = dict(sources)
        self._url = base_url.rstrip("/")
        self._headers = _authorization(device, api_key_env)
        self._silence_s = silence_s
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=silence_s
        )
        self._session: aiohttp.ClientSession | None = None
        self._refused: set[str] = set()

    @property
    def info(self) -> EngineInfo:
        """The server's address; it does not say what it is."""
        return EngineInfo(name="openai", version=self._url, models=dict(self._names))

    @property
    def capabilities(self) -> Capabilities:
        """Serves its models as they are, and says nothing of its caches."""
        return Capabilities(prefix="none", can_load=False, embed=True, models=tuple(self._models))

    async def open(self) -> None:
        """Check that the server is there and, where it lists models, that it has these."""
        if self._session is None:
            # A new connection per call: one that idled may be closed just when it is used.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=self._timeout,
                headers=self._headers,
            )
        try:
            listed = await self._listed()
            missing = [name for name in self._names.values() if listed and name not in listed]
            if missing:
                raise EngineError(
                    f"{self._where}: the server has no model {missing[0]!r}; it has "
                    f"{', '.join(sorted(listed))}",
                    retryable=False,
                )
        except BaseException:
            await self.close()
            raise

    async def load(self, model: str) -> LoadResult:
        """Refuse: the server decides what is loaded."""
        raise self._fixed(model)

    async def unload(self, model: str) -> float:
        """Refuse: the server decides what is loaded."""
        raise self._fixed(model)

    async def warm(self, model: str, parts: tuple[PromptPart, ...], sequence: int) -> CallResult:
        """Refuse: the API has no way to ask for it."""
        del parts, sequence
        raise self._fixed(model)

    async def call(self, request: CallRequest) -> CallResult:
        """Run one call and stream its answer."""
        if request.model not in self._names:
            raise EngineError(f"{self._where}: no model {request.model!r} here", retryable=False)
        check_task(self._models[request.model], request)
        if request.embed:
            return await self._embed(request)
        path = "/chat/completions" if request.chat else "/completions"
        body = request_body(request, self._names[request.model])
        while True:
            sent = {name: value for name, value in body.items() if name not in self._refused}
            started = time.perf_counter()
            try:
                async with self._http("POST", path, sent) as response:
                    answer = await self._read(response, request, started)
            except _FieldRefusedError as refusal:
                self._refused.add(refusal.field)
            else:
                return answer.result(request, time.perf_counter() - started)

    async def _embed(self, request: CallRequest) -> CallResult:
        """Ask for the vector of one text."""
        text = text_of(request)
        body = {"model": self._names[request.model], "input": text}
        started = time.perf_counter()
        async with self._http("POST", "/embeddings", body) as response:
            vector, prompt_tokens = await self._vector(response)
        return CallResult(
            text="",
            prompt_tokens=prompt_tokens or estimated_tokens(len(text)),
            cached_tokens=0,
            output_tokens=0,
            prefill_s=time.perf_counter() - started,
            decode_s=0.0,
            vector=vector,
        )

    async def _vector(self, response: aiohttp.ClientResponse) -> tuple[tuple[float, ...], int]:
        """Return a vector and how long the server says its text is, 0 if it does not."""
        try:
            answer: Any = json.loads(await whole(response))
            vector = tuple([float(each) for each in answer["data"][0]["embedding"]])
            return vector, counted(answer.get("usage") or {}, "prompt_tokens")
        except STRANGE as error:
            raise self._strange(error) from error

    async def save(self, model: str, sequence: int) -> SavedState:
        """Refuse: the API has no KV states."""
        raise self._fixed(model)

    async def restore(self, model: str, sequence: int, state: SavedState) -> float:
        """Refuse: the API has no KV states."""
        raise self._fixed(model)

    def landing(self, state: SavedState) -> SavedState:
        """Return the state: there is nowhere to copy it to."""
        return state

    async def healthy(self) -> bool:
        """Whether the server answers quickly, and not only that it cannot."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self._listed()
        except (TimeoutError, FateError):
            return False
        return True

    async def restart(self) -> None:
        """Wait until a server that was lost answers; starting it is its owner's business."""
        await self.close()
        give_up = time.monotonic() + RESTART_WAIT_S
        while True:
            try:
                return await self.open()
            except EngineError as error:
                if not error.retryable or time.monotonic() > give_up:
                    raise
            await asyncio.sleep(RESTART_POLL_S)

    async def close(self) -> None:
        """Close connections; the server lives on."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def _where(self) -> str:
        return f"device {self._device.id!r} ({self._url})"

    def _fixed(self, model: str) -> EngineError:
        return EngineError(
            f"{self._where} serves {model!r} as it is; nothing is loaded there", retryable=False
        )

    async def _listed(self) -> set[str]:
        """Return the models the server lists; nothing where it does not list any.

        A server that refuses the key, or is not ready yet, raises what a call would.
        """
        try:
            async with self._http("GET", "/models", None) as response:
                found: Any = await response.json(content_type=None)
            return {str(entry["id"]) for entry in found["data"]}
        except (_NotListedError, ValueError, TypeError, LookupError):
            return set()

    async def _read(
        self, response: aiohttp.ClientResponse, request: CallRequest, started: float
    ) -> Answer:
        """Collect a streamed answer, or a whole one from a server that does not stream.

        The server may not be silent for long, and what is no part of the answer is silence. It may
        not go on for ever either: a stream with far more pieces than tokens were asked for ends.
        """
        answer, pieces = Answer(), 0
        most = PIECES_PER_TOKEN * request.max_tokens + PIECES_PER_TOKEN
        loop = asyncio.get_running_loop()
        try:
            if response.content_type == "application/json":
                answer.add(json.loads(await whole(response)), time.perf_counter() - started)
                return answer.checked(self._where)
            async with asyncio.timeout(self._silence_s) as silence:
                async for event in events(response):
                    answer.add(json.loads(event), time.perf_counter() - started)
                    if len(answer.text) > pieces:
                        pieces = len(answer.text)
                        silence.reschedule(loop.time() + self._silence_s)
                    if pieces > most:
                        raise EngineError(
                            f"{self._where}: the answer does not end: {pieces} pieces where "
                            f"{request.max_tokens} tokens were asked for"
                        )
        except STRANGE as error:
            raise self._strange(error) from error
        return answer.checked(self._where)

    def _strange(self, error: Exception) -> EngineError:
        return EngineError(f"{self._where}: the answer is not what the OpenAI API says ({error!r})")

    @asynccontextmanager
    async def _http(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Do one request; turn what can go wrong into the error it means."""
        if self._session is None:
            raise DeviceLostError(f"{self._where} is not open")
        try:
            async with self._session.request(method, self._url + path, json=body) as response:
                if response.status >= 400:
                    raise await self._status_error(response, path, body)
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise DeviceLostError(f"{self._where}: no server there ({one_line(error)})") from error
        except TimeoutError as error:  # aiohttp's own are both, a timeout and a client error
            raise EngineError(
                f"{self._where}: not a word for {self._silence_s:g} s; the call was given up"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            said = one_line(error)
            if path == "/models" or not await self.healthy():
                raise DeviceLostError(f"{self._where}: the server is gone ({said})") from error
            raise EngineError(f"{self._where}: the connection broke ({said})") from error

    async def _status_error(
        self, response: aiohttp.ClientResponse, path: str, body: dict[str, Any] | None
    ) -> Exception:
        """Return what an HTTP status means."""
        status = response.status
        text = (await response.content.read(LONGEST_ERROR)).decode(errors="replace")
        if status in (400, 422) and body:
            for name in OPTIONAL_FIELDS:
                if name in body and name in text:
                    return _FieldRefusedError(name)
        if path == "/models" and status in ABSENT:
            return _NotListedError()
        hint = "; set `api_key_env` to the variable with the key" if status in (401, 403) else ""
        what = f"{self._where}: {path} answers {status}{hint}: {one_line(text)}"
        passing = status >= 500 or status in PASSING
        wait_s = retry_after_s(response.headers.get("Retry-After", ""))
        if wait_s is not None and body and passing:
            return BusyError(f"{what}; it asks to wait {wait_s:g} s", max(wait_s, SHORTEST_WAIT_S))
        return EngineError(what, retryable=passing)


class _NotListedError(Exception):
    """The server has no list of models."""


class _FieldRefusedError(Exception):
    """The server does not take an optional field."""

    def __init__(self, name: str) -> None:
        self.field = name
        super().__init__(name)


def _authorization(device: Device, variable: str) -> dict[str, str]:
    """Return the header with the key; a variable that is not set is the user's mistake."""
    if not variable:
        return {}
    key = os.environ.get(variable)
    if not key:
        raise FateError(
            f"device {device.id!r}: the environment variable {variable}, which should hold the API "
            f"key, is not set"
        )
    return {"Authorization": f"Bearer {key}"}
