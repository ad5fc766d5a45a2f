"""The device process: one OS process that holds llama.cpp servers, one per resident model.

Run as `python -m fate.engines.llamacpp_device`; imports nothing but the standard library and
xllamacpp, so it is up in a tenth of a second. Speaks JSON lines: the first line on stdin is the
configuration, every further line a request `{"id", "op", ...}`; every line on stdout is a reply
`{"id", "ok", ...}`. End of stdin means the parent is gone: the process exits at once; should the
interpreter be stuck inside the engine just then, the kernel ends it.
"""

import ctypes
import gc
import http.client
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import xllamacpp as _xllamacpp  # pyright: ignore[reportMissingTypeStubs]

#: The extension module has no type information.
xllamacpp: Any = _xllamacpp
#: Tokens per batch: a cancelled prefill stops after at most one batch.
BATCH_TOKENS = 64
#: llama.cpp's log levels; 2 is warnings and errors.
WARNINGS = 2
#: `prctl` option: the signal to get when the parent dies.
PR_SET_PDEATHSIG = 1
#: How long a loaded server may take to answer for the first time [s].
FIRST_ANSWER_S = 30.0


def resident_set_bytes() -> int:
    """Return the memory this process holds now [B]."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def server_params(request: dict[str, Any], threads: int, api_key: str) -> Any:  # noqa: ANN401
    """Translate a load request into llama.cpp parameters.

    Everything the defaults would leave to the machine is set: threads (the default takes every
    core), the host-memory cache (the default grows to 8 GiB and hides evictions), flash
    attention (`auto` would make KV states incompatible between devices). Weights are read into
    the process's own memory, not mapped, so that a device holds what it declares and shares
    nothing with its neighbours; they are checked on the way, so that damage is an error.
    """
    params = xllamacpp.CommonParams()
    params.model.path = request["path"]
    params.model_alias = {request["model"]}
    params.api_keys = [api_key]
    params.port = 0
    params.n_ctx = request["context_tokens"]
    params.n_parallel = request["sequences"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.n_threads_http = 2
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.kv_unified = params.swa_full = True
    params.cache_ram_mib = 0
    params.cache_idle_slots = params.fit_params = params.warmup = params.ui = False
    params.endpoint_props = params.endpoint_slots = True
    params.slot_save_path = request["states"] + "/"
    params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.check_tensors = True
    params.verbosity = WARNINGS
    if request["embed"]:
        _embed(params, request)
    return params


def _embed(params: Any, request: dict[str, Any]) -> None:  # noqa: ANN401
    """Have a server make vectors: of a whole text at once, so that a batch must hold it.

    A model that does not say how it pools its tokens' vectors, as one made to generate, gets their
    mean. Texts side by side share one cache, hence one context for each.
    """
    params.embedding = True
    params.n_batch = params.n_ubatch = request["context_tokens"]
    params.n_ctx = request["context_tokens"] * request["sequences"]
    if not request["pools"]:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN


def await_loop(address: str, api_key: str) -> None:
    """Wait until a server's main loop runs.

    `Server()` returns just before it does, and a server deleted in between never ends: its
    destructor waits for ever, holding the interpreter. `/slots` is answered by the loop.
    """
    host, port = address.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=FIRST_ANSWER_S)
    try:
        connection.request("GET", "/slots", headers={"Authorization": f"Bearer {api_key}"})
        connection.getresponse().read()
    finally:
        connection.close()


def give_back() -> None:
    """Have the C library return freed memory to the system, where it can (glibc keeps it)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the parent dies, and leave if it is dead already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


@dataclass(slots=True)
class Resident:
    """A loaded (or loading) model: the bytes it reserves and, once loaded, its server."""

    reserved_bytes: int
    server: Any = None


@dataclass(slots=True)
class DeviceProcess:
    """Holds the models and the declared budget; answers requests on `replies`."""

    memory_bytes: int
    threads: int
    api_key: str
    replies: IO[str]
    models: dict[str, Resident] = field(default_factory=dict[str, Resident])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, request_id: int, body: dict[str, Any]) -> None:
        """Write one reply line; replies of different threads never mix."""
        line = json.dumps({"id": request_id, **body})
        with self.lock:
            self.replies.write(line + "\n")
            self.replies.flush()

    def serve(self, requests: IO[str]) -> None:
        """Answer requests until stdin ends; loads and unloads run in their own thread."""
        for line in requests:
            request = json.loads(line)
            if request["op"] == "quit":
                return
            if request["op"] in ("load", "unload"):
                threading.Thread(target=self.answer, args=(request,), daemon=True).start()
            else:
                self.answer(request)

    def answer(self, request: dict[str, Any]) -> None:
        """Run one request and reply with its result or its error.

        A bug here gets an answer too: the parent waits for one.
        """
        try:
            body = {"ok": True, **getattr(self, f"op_{request['op']}")(request)}
        except (RuntimeError, ValueError, OSError) as error:
            body = {"ok": False, "error": str(error)}
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for it
            body = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        self.reply(request["id"], body)

    def op_ping(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Say that the process is alive, how much memory it holds and what is loaded."""
        with self.lock:
            reserved = sum(resident.reserved_bytes for resident in self.models.values())
            loaded = [m for m, resident in self.models.items() if resident.server is not None]
        return {"rss_bytes": resident_set_bytes(), "reserved_bytes": reserved, "models": loaded}

    def op_load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Load a model within the budget; its bytes are reserved from the start."""
        model = request["model"]
        self._reserve(model, request["reserved_bytes"])
        rss_before = resident_set_bytes()
        started = time.perf_counter()
        try:
            server = xllamacpp.Server(server_params(request, self.threads, self.api_key))
            await_loop(server.listening_address, self.api_key)
        except BaseException:
            with self.lock:
                del self.models[model]
            raise
        self.models[model].server = server
        return {
            "seconds": time.perf_counter() - started,
            "address": server.listening_address,
            "rss_before_bytes": rss_before,
            "rss_after_bytes": resident_set_bytes(),
        }

    def op_unload(self, request: dict[str, Any]) -> dict[str, Any]:
        """Drop a model; its bytes are free once its memory is."""
        model = request["model"]
        with self.lock:
            resident = self.models.get(model)
        if resident is None or resident.server is None:
            raise ValueError(f"model {model!r} is not loaded")
        started = time.perf_counter()
        resident.server = None
        gc.collect()
        give_back()
        with self.lock:
            del self.models[model]
        return {"seconds": time.perf_counter() - started, "rss_bytes": resident_set_bytes()}

    def _reserve(self, model: str, need: int) -> None:
        """Take `need` bytes of the budget, or refuse the load."""
        with self.lock:
            if model in self.models:
                raise ValueError(f"model {model!r} is loaded already")
            used = sum(resident.reserved_bytes for resident in self.models.values())
            if used + need > self.memory_bytes:
                raise ValueError(
                    f"loading {model!r} needs {need / 2**20:.0f} MiB, but "
                    f"{used / 2**20:.0f} of the declared {self.memory_bytes / 2**20:.0f} MiB "
                    f"are taken"
                )
            self.models[model] = Resident(need)


def private_replies(log: str) -> IO[str]:
    """Keep stdout for replies and send everything the engine prints to the log file."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    return replies


def main() -> None:
    """Read the configuration, pin the process, serve, and leave without a trace."""
    os.umask(0o077)  # saved KV states hold prompts
    config = json.loads(sys.stdin.readline())
    die_with(config["parent"])
    replies = private_replies(config["log"])
    cores: list[int] = config["cores"]
    if cores:
        os.sched_setaffinity(0, cores)
    device = DeviceProcess(
        memory_bytes=config["memory_bytes"],
        threads=max(len(cores), 1),
        api_key=config["api_key"],
        replies=replies,
    )
    device.reply(0, {"ok": True, "version": xllamacpp.__version__})
    device.serve(sys.stdin)
    os._exit(0)  # threads inside llama.cpp must not delay the end


if __name__ == "__main__":
    main()
