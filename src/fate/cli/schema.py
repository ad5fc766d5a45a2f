"""`fate schema`: the file formats as JSON Schema, for editors and checks."""

import json
from typing import Annotated, Literal

import typer

from fate.config import ClusterSpec
from fate.workflow.faults import FaultPlanSpec
from fate.workflow.spec import WorkflowSpec

_FORMATS = {"workflow": WorkflowSpec, "cluster": ClusterSpec, "faults": FaultPlanSpec}


def schema(
    file_format: Annotated[
        Literal["workflow", "cluster", "faults"],
        typer.Argument(metavar="FORMAT", help="`workflow`, `cluster` or `faults`."),
    ],
) -> None:
    """Print the JSON Schema of a file format."""
    model = _FORMATS[file_format]
    result = model.model_json_schema(by_alias=True)
    identity = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": model.model_fields["format"].default,
    }
    print(json.dumps({**identity, **result}, indent=2))
