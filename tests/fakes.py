"""Clusters of fake devices: real models by name, without their weights, and calls without time."""

from collections.abc import Iterable
from typing import Any

from fate.config import ClusterSpec
from fate.workflow.spec import WorkflowSpec


def fake_cluster(models: Iterable[str], devices: int = 2, **more: Any) -> ClusterSpec:
    """Return a cluster of fake devices that may load known models; `NAME:embed` makes vectors."""
    declared: dict[str, Any] = {}
    for name in models:
        known, _, task = name.partition(":")
        declared[name] = {"source": f"pypi:{known}", "task": task or "generate"}
    named = {f"d{i}": {"engine": "fake", "memory": "2GiB"} for i in range(devices)}
    plain = {"policy": "late-eft"}  # needs no kernels, which take long to compile
    return ClusterSpec.model_validate({"models": declared, "devices": named, **plain, **more})


def cluster_for(spec: WorkflowSpec) -> ClusterSpec:
    """Return fake devices with the models that a workflow's roles mean."""
    return fake_cluster(sorted(set(spec.roles.values())))
