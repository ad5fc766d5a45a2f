"""FATE: future-state-aware scheduling of heterogeneous LLM workflows.

Names are imported when they are used, so that `import fate` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fate.domain.errors import FateError
    from fate.workflow.builder import Workflow
    from fate.workflow.load import load_workflow
    from fate.workflow.refs import ITEM, expr
    from fate.workflow.spec import WorkflowSpec

__version__ = "0.1.0"

__all__ = ["ITEM", "FateError", "Workflow", "WorkflowSpec", "__version__", "expr", "load_workflow"]

_HOME = {
    "FateError": "fate.domain.errors",
    "ITEM": "fate.workflow.refs",
    "Workflow": "fate.workflow.builder",
    "WorkflowSpec": "fate.workflow.spec",
    "expr": "fate.workflow.refs",
    "load_workflow": "fate.workflow.load",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fate' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
