"""Cluster files: sizes, problems with their lines, defaults, and what becomes of them."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from fate.cli.main import application
from fate.config import (
    ClusterError,
    ClusterSpec,
    default_cluster,
    load_cluster,
    resolve,
)
from fate.core.options import SchedulerOptions
from fate.domain.units import parse_bandwidth, parse_size
from fate.engines.models import DEFAULT_SET
from fate.workflow.problems import FileError
from fate.workflow.spec import STAGE_MODELS, InputSpec, MapSpec, WorkflowSpec

ROOT = Path(__file__).parents[2]
ROLES = {"fast": "a", "slow": "b"}

CLUSTER = """\
format: fate.cluster/1
models:
  a: {source: "https://example.org/a.gguf#sha256=%s", weight_bytes: 100MB, context: 512}
  b: {source: remote, context: 4096}
devices:
  cpu: {memory: 300MiB, cores: [0, 1], options: {log_level: 3}}
  gpu: {engine: openai, base_url: "http://127.0.0.1:1/v1", models: {b: served}, slots: 8}
links:
  - {source: cpu, target: gpu, bandwidth: 100MB/s}
""" % ("0" * 64)


def write(tmp_path: Path, text: str) -> Path:
    """Write a cluster file."""
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return file


def problems(tmp_path: Path, text: str) -> list[str]:
    """Return the problems of a cluster text, without the folder."""
    file = write(tmp_path, text)
    with pytest.raises(ClusterError) as caught:
        load_cluster(file)
    return [line.removeprefix(f"{tmp_path}/") for line in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "size"),
    [("300MiB", 300 * 2**20), ("1.5 GB", 1_500_000_000), ("7", 7), (7, 7), ("2kib", 2048)],
)
def test_sizes(text: object, size: int) -> None:
    """Powers of ten without `i`, of two with it."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-3MB", "3 apples", "3MBit", -1, True, 1.5, None])
def test_sizes_that_are_none(text: object) -> None:
    """The message shows how to write one."""
    with pytest.raises(ValueError, match="as 300MiB"):
        parse_size(text)


def test_bandwidths() -> None:
    """Bytes per second, always with `/s`."""
    assert parse_bandwidth("100MB/s") == 1e8
    for text in ("100MB", "0B/s", "fast", "1MB/h", 100):
        with pytest.raises(ValueError, match="100MB/s"):
            parse_bandwidth(text)


def test_a_cluster_becomes_devices_and_models(tmp_path: Path) -> None:
    """What the core plans with, and what engines are built from."""
    resolved = resolve(load_cluster(write(tmp_path, CLUSTER)), ROLES)
    cpu, gpu = resolved.devices
    assert (cpu.engine, cpu.device.memory_bytes, cpu.device.cores) == (
        "llamacpp",
        300 * 2**20,
        (0, 1),
    )
    assert [model.id for model in cpu.models] == ["a"] and cpu.options == {"log_level": 3}
    assert cpu.sources["a"].startswith("https://example.org/a.gguf#sha256=")
    assert not gpu.device.managed and gpu.device.slots == 8
    assert gpu.sources == {"b": "served"}
    assert gpu.options == {"base_url": "http://127.0.0.1:1/v1"}
    assert resolved.roles["fast"].context_tokens == 512
    assert [(x.source, x.target) for x in resolved.cluster.links] == [
        ("cpu", "gpu"),
        ("gpu", "cpu"),
    ]
    assert resolved.options == SchedulerOptions() and resolved.policy == "foresight"


def test_the_clusters_roles_win(tmp_path: Path) -> None:
    """A workflow's default counts only where the cluster says nothing."""
    spec = load_cluster(write(tmp_path, CLUSTER + "roles: {fast: b}\n"))
    assert {role: model.id for role, model in resolve(spec, ROLES).roles.items()} == {
        "fast": "b",
        "slow": "b",
    }


def test_roles_without_a_model_are_an_error(tmp_path: Path) -> None:
    """Every one is reported, with what to do."""
    spec = load_cluster(write(tmp_path, CLUSTER))
    with pytest.raises(ClusterError) as caught:
        resolve(spec, {"x": "nope", "y": "a"})
    (line,) = caught.value.problems
    assert line.startswith("role 'x' means model 'nope', which the cluster does not have. Known: a")


def test_everything_wrong_is_reported_with_its_line(tmp_path: Path) -> None:
    """Types and keys first; names once the file is understood."""
    text = CLUSTER.replace("300MiB", "300 apples").replace("slots: 8", "slotz: 8")
    first, second = problems(tmp_path, text + "optoins: {}\n")[:2]
    assert first.startswith("c.yaml:6: memory: not a size: '300 apples'")
    assert second == "c.yaml:7: unknown key 'slotz'. Did you mean 'slots'?"
    text = CLUSTER.replace("target: gpu", "target: gpuu") + (
        "roles: {fast: aa}\noptions: {chunk_z: 1}\n"
    )
    assert problems(tmp_path, text) == [
        "c.yaml:9: unknown device 'gpuu'. Did you mean 'gpu'?",
        "c.yaml:10: unknown model 'aa'. Did you mean 'a'?",
        "c.yaml:11: options: unknown option 'chunk_z'. Did you mean 'chunk_s'?",
    ]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("source: remote", "source: ftp", "is not allowed here"),
        ("models: {b: served}", "models: {c: served}", "unknown model 'c'"),
        ("slots: 8", "slots: 0", "greater than or equal to 1"),
        ("memory: 300MiB, ", "", "the key 'memory' is missing"),
        ("memory: 300MiB", "memory: 300MiB, models: [b]", "no model can be loaded here"),
        ("format: fate.cluster/1", "format: fate.workflow/1", "got 'fate.workflow/1'"),
    ],
)
def test_single_mistakes(tmp_path: Path, old: str, new: str, what: str) -> None:
    """One line each."""
    file = write(tmp_path, CLUSTER.replace(old, new))
    with pytest.raises(FileError, match=r"c\.yaml:") as caught:
        load_cluster(file)
    assert what in str(caught.value) and "\n" not in str(caught.value)


def test_options_reach_the_core(tmp_path: Path) -> None:
    """Values are checked where they are used."""
    spec = load_cluster(write(tmp_path, CLUSTER + "options: {chunk_s: 0.5, max_attempts: 5}\n"))
    assert resolve(spec, {}).options == SchedulerOptions(chunk_s=0.5, max_attempts=5)
    (line,) = problems(tmp_path, CLUSTER + "options: {max_attempts: 0}\n")
    assert line.startswith("c.yaml:10: options: max_attempts")


def test_the_default_cluster_makes_residency_a_decision() -> None:
    """Two devices with cores of their own; each holds every model alone and not all together."""
    resolved = resolve(default_cluster(cores=[3, 5]), {})
    devices, models = resolved.cluster.devices, resolved.cluster.models
    assert [device.cores for device in devices] == [(3,), (5,)]
    assert {model.id for model in models} == set(DEFAULT_SET)
    ends = {(link.source, link.target) for link in resolved.cluster.links}
    assert ends == {("d0", "d1"), ("d1", "d0")}  # KV states move over their disk
    for device in devices:
        assert all(resolved.cluster.supports(device, model) for model in models)
        assert sum(model.footprint_bytes for model in models) > device.memory_bytes


@pytest.mark.parametrize(
    ("cores", "sets"),
    [
        ([0], [(0,), (0,)]),
        ([0, 1, 2], [(0,), (1,)]),
        (list(range(16)), [(0, 1, 2, 3), (4, 5, 6, 7)]),
    ],
)
def test_default_cores(cores: list[int], sets: list[tuple[int, ...]]) -> None:
    """Disjoint where there are two cores; never more than a small model can use."""
    devices = resolve(default_cluster(cores=cores), {}).cluster.devices
    assert [device.cores for device in devices] == sets


def test_the_example_cluster_runs_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """What we ship fits together; so say the commands."""
    monkeypatch.chdir(ROOT / "examples")
    app = application("validate")
    command = ["validate", "brief.yaml", "chain.yaml", "cluster.yaml", "--cluster", "cluster.yaml"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert (
        "brief.yaml: ok: 11 stages (9 model stages, 1 map, 0 loops), 3 roles, 1 input"
        in result.output
    )
    assert "cluster.yaml: ok: 2 devices, 3 models" in result.output


def test_validate_reports_every_file(tmp_path: Path) -> None:
    """Problems of all files, exit code 2; prompts over the context among them."""
    (tmp_path / "a.yaml").write_text("format: fate.workflow/1\nname: a\nstages: {}\n")
    (tmp_path / "b.yaml").write_text(
        "format: fate.workflow/1\nname: b\nroles: {fast: a}\nstages:\n"
        f"  s: {{kind: llm, model: fast, prompt: '{'word ' * 600}'}}\n"
    )
    write(tmp_path, CLUSTER)
    command = ["validate", *[str(tmp_path / f"{x}.yaml") for x in "ab"]]
    result = CliRunner().invoke(application("validate"), command)
    assert result.exit_code == 2
    assert "a.yaml:3: the workflow is empty" in result.output and "b.yaml: ok" in result.output
    command += ["--cluster", str(tmp_path / "c.yaml")]
    result = CliRunner().invoke(application("validate"), command)
    assert "exceed the 512 tokens of model 'a'" in result.output


@pytest.mark.parametrize("name", ["workflow", "cluster"])
def test_schemas_accept_the_examples(name: str) -> None:
    """What `fate schema` prints describes the files we ship."""
    result = CliRunner().invoke(application("schema"), ["schema", name])
    assert result.exit_code == 0, result.output
    schema: dict[str, Any] = json.loads(result.output)
    files = {"workflow": ["brief", "chain"], "cluster": ["cluster"]}[name]
    for file in files:
        data = yaml.safe_load((ROOT / "examples" / f"{file}.yaml").read_text())
        jsonschema.validate(data, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**data, "unknown": 1}, schema)


def test_every_key_is_documented() -> None:
    """docs/file-formats.md names each key of both formats."""
    text = (ROOT / "docs" / "file-formats.md").read_text()
    cluster = json.dumps(ClusterSpec.model_json_schema())
    definitions = json.loads(cluster)["$defs"].values()
    keys = {key for each in definitions for key in each["properties"]}
    for model in (*STAGE_MODELS.values(), InputSpec, MapSpec, WorkflowSpec, ClusterSpec):
        keys |= {info.alias or name for name, info in model.model_fields.items()}
    keys |= set(SchedulerOptions.__struct_fields__)
    assert {key for key in keys if f"`{key}`" not in text and f"`{key}:" not in text} == set()
