"""One loaded model: its server's HTTP interface, and which of its cache slots are busy."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp

from fate.domain.catalog import Device, Model
from fate.engines.base import EngineError
from fate.engines.llamacpp_api import ACTION_FIELDS
from fate.engines.llamacpp_process import DeviceChild
from fate.engines.llamacpp_prompt import EncodedPrompt, PromptEncoder, Tokens

#: After a broken connection: how long the process may take to show that it died [s].
DEATH_NOTICE_S = 1.0
#: A cancelled call frees its slot after one batch of 64 tokens; a device that has not done so by
#: then is stuck and is killed [s].
DRAIN_TIMEOUT_S = 15.0
DRAIN_POLL_S = 0.005


@dataclass(slots=True)
class ModelServer:
    """A loaded model: where its server listens, its prompt encoder, its busy cache slots."""

    device: Device
    model: Model
    address: str
    encoder: PromptEncoder
    child: DeviceChild
    session: aiohttp.ClientSession
    running: set[int] = field(default_factory=set[int])

    def take_slot(self, sequence: int) -> int:
        """Occupy the cache slot asked for, or the first idle one."""
        idle = [slot for slot in range(self.device.sequences) if slot not in self.running]
        if sequence >= 0 and sequence not in idle:
            raise EngineError(
                f"device {self.device.id!r}: {self.model.id!r} has no idle cache slot "
                f"{sequence} of {self.device.sequences}"
            )
        if not idle:
            raise EngineError(f"device {self.device.id!r}: {self.model.id!r} is busy")
        slot = sequence if sequence >= 0 else idle[0]
        self.running.add(slot)
        return slot

    async def complete(self, slot: int, body: dict[str, Any]) -> dict[str, Any]:
        """Run a completion; when cancelled, return only once the slot computes no more."""
        try:
            return await self._stream(body)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.ensure_future(self._drain(slot)))
            raise

    async def _stream(self, body: dict[str, Any]) -> dict[str, Any]:
        """Read a streamed completion; return its last event with the whole text and its tokens.

        Streaming with progress is what makes cancellation quick: the server notices a closed
        socket when it writes, which it then does after every batch and every token.
        """
        text, tokens = list[str](), list[list[int]]()
        async with self._http("POST", "/completion", body) as response:
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                event: dict[str, Any] = json.loads(line[len(b"data: ") :])
                if "error" in event:
                    raise self._refused("/completion", event, 500)
                if "prompt_progress" in event:
                    continue
                text.append(event.get("content", ""))
                tokens.append(event.get("tokens", []))
                if event.get("stop"):
                    written = written_tokens(text, tokens)
                    return {**event, "content": "".join(text), "tokens": written}
        raise EngineError(f"device {self.device.id!r}: {self.model.id!r} stopped mid-answer")

    async def embed(self, encoded: EncodedPrompt) -> dict[str, Any]:
        """Ask for a text's vector; when cancelled, return once its one batch is computed."""
        post = asyncio.ensure_future(self.post("/v1/embeddings", {"input": encoded.tokens}))
        try:
            return await asyncio.shield(post)
        except asyncio.CancelledError:
            await asyncio.gather(post, return_exceptions=True)
            raise

    async def _drain(self, slot: int) -> None:
        """Wait until a slot is idle; kill a device that does not get there."""
        child = self._alive_child()
        with contextlib.suppress(EngineError, TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while await self._slot_computes(slot):  # noqa: ASYNC110 - elsewhere
                    await asyncio.sleep(DRAIN_POLL_S)
                return
        await child.kill()

    async def _slot_computes(self, slot: int) -> bool:
        """Whether a slot has work."""
        async with self._http("GET", "/slots") as response:
            slots: list[dict[str, Any]] = await response.json(content_type=None)
        return any(entry["id"] == slot and entry["is_processing"] for entry in slots)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post JSON to the server and return the answer."""
        async with self._http("POST", path, body) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
        return answer

    @contextlib.asynccontextmanager
    async def _http(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Do one HTTP request; tell a lost device from an error the server reports."""
        child = self._alive_child()
        headers = {"Authorization": f"Bearer {child.api_key}"}
        try:
            async with self.session.request(
                method, self.address + path, json=body, headers=headers
            ) as response:
                if response.status != 200:
                    answer: dict[str, Any] = await response.json(content_type=None)
                    raise self._refused(path, answer, response.status)
                yield response
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if await child.ended_within(DEATH_NOTICE_S):
                raise child.lost_error() from error
            raise EngineError(
                f"device {self.device.id!r}: no answer from the engine ({error}){child.log_tail()}"
            ) from error

    def _alive_child(self) -> DeviceChild:
        if self.child.lost:
            raise self.child.lost_error()
        return self.child

    def _refused(self, path: str, answer: dict[str, Any], status: int) -> EngineError:
        """Make an error of what the server reports; a bad request stays one when retried."""
        message = answer.get("error", {}).get("message", answer)
        return EngineError(
            f"device {self.device.id!r}: {self.model.id!r} refused {path}: {message}",
            retryable=status >= 500,
        )

    async def slot_action(
        self, sequence: int, action: Literal["save", "restore"], path: Path
    ) -> tuple[int, int, float]:
        """Save or restore a slot; return (bytes, tokens, seconds) of it."""
        began_s, slot = time.perf_counter(), self.take_slot(max(sequence, 0))
        try:
            where = f"/slots/{slot}?action={action}"
            answer = await self.post(where, {"filename": path.name})
        finally:
            self.running.discard(slot)
        seconds, done = time.perf_counter() - began_s, ACTION_FIELDS[action]
        return answer[done[0]], answer[done[1]], seconds


def written_tokens(text: list[str], tokens: list[list[int]]) -> Tokens:
    """Return the tokens of an answer's text from its pieces as they were streamed.

    A piece without text belongs to the one behind it, with which a character is complete; at the
    end it stands for nothing that was written, like the token that ends an answer.
    """
    count = next((k for k in range(len(text), 0, -1) if text[k - 1]), 0)
    return tuple([token for piece in tokens[:count] for token in piece])
