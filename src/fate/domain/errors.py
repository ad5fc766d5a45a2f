"""Every error a user can meet has one base class, a stable code and facts as attributes."""


class FateError(Exception):
    """Base of all errors FATE reports in one line with exit code 2.

    `retryable` tells whether another attempt at the same work may do better.
    """

    code = "error"
    retryable = True


class GraphError(FateError):
    """A workflow graph is not a DAG of known stages."""

    code = "bad-graph"

    def __init__(self, workflow: str, problem: str) -> None:
        self.workflow, self.problem = workflow, problem
        super().__init__(f"workflow {workflow!r}: {problem}")


class NoFeasibleDeviceError(FateError):
    """A model fits on no device, however long we wait."""

    code = "no-feasible-device"

    def __init__(self, stage: str, model: str, need_bytes: int, device: str, have: int) -> None:
        self.stage, self.model, self.need_bytes = stage, model, need_bytes
        self.device, self.have_bytes = device, have
        super().__init__(
            f"stage {stage!r}: model {model!r} needs {need_bytes / 2**20:.0f} MiB and no device "
            f"that supports it has that much; the largest, {device!r}, declares "
            f"{have / 2**20:.0f} MiB. Add memory to a device in the cluster file, lower the "
            f"model's context, or pick a smaller model."
        )


class ProtocolError(FateError):
    """An event contradicts the state: a bug in a driver or an engine, never bad input."""

    code = "protocol"


class ReplayError(FateError):
    """A journal does not lead to the decisions it records."""

    code = "replay-differs"
