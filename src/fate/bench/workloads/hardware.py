"""GPUs and models: sizes from public configurations, rates fitted to published measurements.

Sources: model configurations; the measured linear layers that Vidur (microsoft/vidur) and
LLMServingSim (casys-kaist/LLMServingSim) publish; end-to-end runs of vLLM on A100, A40, H100. A
prefill is bound by compute, a decode step by the bandwidth at which weights and caches are read:

    prefill(n) = (2 P n + 2 L d n^2) / (mfu F)
    step(b)    = max((W + b context kv) / (use B), 2 P b / (mfu F)) + 0.5 ms + 0.15 ms b

with P parameters, L layers of width d, W weight bytes, kv cache bytes per token, F and B the
device's compute and bandwidth. Good to about 25 %: what suites compare are policies on the same
figures. H100s take the lower of two prefill figures that disagree.
"""

from dataclasses import dataclass
from functools import reduce
from operator import mul

from fate.cost.profile import CallCosts
from fate.domain.catalog import Model, ModelTask
from fate.domain.errors import FateError

#: Seconds of a decode step whatever its size, and for each running sequence.
STEP_S, STEP_SEQUENCE_S = 0.5e-3, 0.15e-3
#: Share of its speed that a GPU keeps in a group that computes one model together.
GROUP_EFFICIENCY = 0.9
#: Share of a GPU's memory that weights and caches may take, as vLLM has it.
USABLE_MEMORY = 0.9
#: Seconds to free a model's memory.
UNLOAD_S = 0.1
_GIB, _KIB = 1 << 30, 1 << 10


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device type.

    Attributes:
        tflops: dense bf16 [1e12/s].
        gb_per_s: memory bandwidth [1e9 B/s].
        memory_gib: memory [GiB].
        mfu: share of `tflops` that a prefill reaches.
        bandwidth_use: share of `gb_per_s` that a decode reaches.
        host_gb_per_s: from host memory to the device, PCIe generations 3, 4, 5 [1e9 B/s].
        slots: calls that run at once.
    """

    tflops: float
    gb_per_s: float
    memory_gib: int
    mfu: float
    bandwidth_use: float
    host_gb_per_s: float
    slots: int


GPUS: dict[str, Gpu] = {
    "h200": Gpu(989, 4800, 141, 0.54, 0.72, 50, 8),
    "h100": Gpu(989, 3350, 80, 0.54, 0.70, 50, 8),
    "a100-80": Gpu(312, 2039, 80, 0.68, 0.71, 25, 8),
    "a100-40": Gpu(312, 1555, 40, 0.70, 0.77, 25, 6),
    "l40s": Gpu(362, 864, 48, 0.48, 0.79, 25, 6),
    "rtx-pro-6000": Gpu(503, 1597, 96, 0.87, 0.95, 50, 8),
    "rtx4090": Gpu(165, 1008, 24, 1.0, 0.91, 25, 4),
    "a6000": Gpu(155, 768, 48, 0.64, 0.93, 25, 6),
    "rtx3090": Gpu(71, 936, 24, 0.94, 0.85, 25, 4),
    "a40": Gpu(150, 696, 48, 0.73, 0.78, 25, 6),
    "a10": Gpu(125, 600, 24, 0.42, 0.77, 25, 4),
    "l4": Gpu(121, 300, 24, 0.40, 0.82, 25, 4),
    "t4": Gpu(65, 320, 16, 0.45, 0.75, 12, 2),
}


@dataclass(frozen=True, slots=True)
class Llm:
    """A model.

    Attributes:
        parameters_b: parameters [1e9].
        weight_gb: bytes of the weights [1e9].
        kv_kib: cache of a token [KiB].
        layers, width: of the transformer.
        context_tokens: tokens of cache that a load reserves.
        task: what calls return.
    """

    parameters_b: float
    weight_gb: float
    kv_kib: int
    layers: int
    width: int
    context_tokens: int = 32768
    task: ModelTask = "generate"


#: bf16, apart from `-awq`: four bits and their scales.
MODELS: dict[str, Llm] = {
    "embed-0.3b": Llm(0.3, 0.6, 0, 24, 1024, 8192, "embed"),
    "qwen3-0.6b": Llm(0.6, 1.2, 112, 28, 1024),
    "llama-1b": Llm(1.24, 2.5, 32, 16, 2048),
    "llama-3b": Llm(3.21, 6.4, 112, 28, 3072),
    "qwen2.5-7b": Llm(7.62, 15.2, 56, 28, 3584),
    "llama-8b": Llm(8.03, 16.1, 128, 32, 4096),
    "r1-8b": Llm(8.03, 16.1, 128, 32, 4096),
    "qwen3-8b": Llm(8.19, 16.4, 144, 36, 4096),
    "qwen3-14b": Llm(14.8, 29.5, 160, 40, 5120),
    "qwen3-32b-awq": Llm(32.8, 18.6, 256, 64, 5120, 16384),
    "qwen3-32b": Llm(32.8, 65.5, 256, 64, 5120),
    "llama-70b-awq": Llm(70.6, 40.0, 320, 80, 8192, 16384),
    "llama-70b": Llm(70.6, 141.0, 320, 80, 8192),
}

#: Where weights come from -> (seconds to start an engine, bytes per second or 0: the device's own
#: rate from host memory). `host`: asleep in host memory, as vLLM's sleep level 1 or a page cache;
#: `disk`: an engine started anew from a local disk.
LOADING: dict[str, tuple[float, float]] = {"host": (0.5, 0.0), "disk": (10.0, 3e9)}


@dataclass(frozen=True, slots=True)
class Part:
    """A device: GPUs of one type that compute a model together."""

    gpu: Gpu
    count: int = 1

    @property
    def flops(self) -> float:
        """Sustained operations per second of a prefill."""
        return self.gpu.tflops * 1e12 * self.gpu.mfu * self._scale

    @property
    def bytes_per_s(self) -> float:
        """Sustained bytes per second of a decode."""
        return self.gpu.gb_per_s * 1e9 * self.gpu.bandwidth_use * self._scale

    @property
    def memory_bytes(self) -> int:
        """Bytes for weights and caches."""
        return int(self.gpu.memory_gib * _GIB * USABLE_MEMORY) * self.count

    @property
    def _scale(self) -> float:
        return self.count * (GROUP_EFFICIENCY if self.count > 1 else 1.0)


def part(name: str) -> Part:
    """Return the device of a name such as `l4`, or `a100-80x2` for two that compute together.

    Raises:
        FateError: no such GPU.
    """
    gpu, _, count = name.rpartition("x") if name.rpartition("x")[2].isdigit() else (name, "", "1")
    if gpu not in GPUS and name in GPUS:
        gpu, count = name, "1"
    if gpu not in GPUS or not int(count):
        raise FateError(f"unknown GPU {name!r}; known: {', '.join(GPUS)}, and groups such as l4x2")
    return Part(GPUS[gpu], int(count))


def llm(name: str) -> Llm:
    """Return a model's figures.

    Raises:
        FateError: no such model.
    """
    if name not in MODELS:
        raise FateError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    return MODELS[name]


def catalogue_model(name: str, context_tokens: int = 0) -> Model:
    """Return a model for a cluster; a load reserves `context_tokens` of cache, 0: its own."""
    figures = llm(name)
    return Model(
        id=name,
        weight_bytes=int(figures.weight_gb * 1e9),
        kv_bytes_per_token=figures.kv_kib * _KIB,
        context_tokens=context_tokens or figures.context_tokens,
        tokenizer=name,
        task=figures.task,
    )


def call_costs(device: Part, model: Llm, loading: str = "host") -> CallCosts:
    """Return what a model costs on a device with one call running."""
    start_s, rate = LOADING[loading]
    load_rate = rate or device.gpu.host_gb_per_s * 1e9 * device.count
    step_s = model.weight_gb * 1e9 / device.bytes_per_s + STEP_S + STEP_SEQUENCE_S
    return CallCosts(
        load_s=start_s + model.weight_gb * 1e9 / load_rate,
        unload_s=UNLOAD_S,
        prefill=(
            0.0,
            2.0 * model.parameters_b * 1e9 / device.flops,
            4.0 * model.layers * model.width / device.flops,
        ),
        decode=(0.0, step_s, model.kv_kib * _KIB / device.bytes_per_s),
    )


def step_seconds(device: Part, model: Llm, running: int, context_tokens: float) -> float:
    """Return the seconds of a decode step of `running` sequences of `context_tokens` each."""
    read = model.weight_gb * 1e9 + running * context_tokens * model.kv_kib * _KIB
    compute_s = 2.0 * model.parameters_b * 1e9 * running / device.flops
    return max(read / device.bytes_per_s, compute_s) + STEP_S + STEP_SEQUENCE_S * running


def prefill_rate(device: Part, model: Llm, tokens: int) -> float:
    """Return prompt tokens per second of a prompt of `tokens`."""
    operations = 2.0 * model.parameters_b * 1e9 + 2.0 * model.layers * model.width * tokens
    return device.flops / operations


def slowdown(
    device: Part, models: list[Llm], prompt: float, output: float, slots: int
) -> tuple[float, ...]:
    """Return the factor on a call's seconds with 1, 2, ... slots busy.

    With n calls of a kind running without end, each sees n prefills and its own decode steps, which
    take as long as a step of n sequences. The geometric mean over the models.

    Args:
        device: the device.
        models: those that generate on it.
        prompt: computed prompt tokens of a typical call.
        output: its answer's tokens.
        slots: how many calls run at once at most.
    """

    def call_s(model: Llm, running: int) -> float:
        prefill_s = prompt / prefill_rate(device, model, int(prompt))
        step_s = step_seconds(device, model, running, prompt + output / 2.0)
        return running * prefill_s + output * step_s

    counts = range(1, slots + 1)
    factors = [[call_s(m, n) / call_s(m, 1) for m in models] for n in counts]
    return tuple([reduce(mul, row, 1.0) ** (1.0 / max(len(row), 1)) for row in factors])
