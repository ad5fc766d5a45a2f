"""The choice between the kernels."""

import sys

import pytest
from tests.strategies import Box, Kind, Node, make_snapshot

from fate.policy.kernel import backend
from fate.policy.kernel.problem import Weights


def test_without_numba_the_reference_plans_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken install costs speed, not plans."""
    monkeypatch.setitem(sys.modules, "numba", None)
    assert backend.warm("unused").startswith("reference (ModuleNotFoundError")
    kernel = backend.open_kernel(make_snapshot([Node()], [Box()], [Kind()]), Weights())
    assert kernel.name == "reference"
    assert kernel.replay([[0]]) == [112.0]
