"""FATE: future-state-aware scheduling of heterogeneous LLM workflows.

Names are imported when they are used, so that `import fate` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fate.api import RunFailedError, RunResult, run, run_sync
    from fate.config import ClusterSpec, load_cluster
    from fate.domain.errors import FateError
    from fate.workflow.builder import Workflow
    from fate.workflow.decorator import tool
    from fate.workflow.load import load_workflow
    from fate.workflow.refs import ITEM, expr
    from fate.workflow.spec import WorkflowSpec

__version__ = "0.1.0"

__all__ = [
    "ITEM",
    "ClusterSpec",
    "FateError",
    "RunFailedError",
    "RunResult",
    "Workflow",
    "WorkflowSpec",
    "__version__",
    "expr",
    "load_cluster",
    "load_workflow",
    "run",
    "run_sync",
    "tool",
]

_HOME = {
    "ClusterSpec": "fate.config",
    "FateError": "fate.domain.errors",
    "ITEM": "fate.workflow.refs",
    "RunFailedError": "fate.api",
    "RunResult": "fate.api",
    "Workflow": "fate.workflow.builder",
    "WorkflowSpec": "fate.workflow.spec",
    "expr": "fate.workflow.refs",
    "load_cluster": "fate.config",
    "load_workflow": "fate.workflow.load",
    "run": "fate.api",
    "run_sync": "fate.api",
    "tool": "fate.workflow.decorator",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fate' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
