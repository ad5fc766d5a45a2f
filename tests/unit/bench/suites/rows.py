"""Rows of results for tests."""

from typing import Any

from fate.bench.suites.results import Run


def row(policy: str, makespan_s: float, **changes: Any) -> Run:
    """Return a run of cell `mild/switch/W2`, seed 0, with one workflow's latency its makespan."""
    settings = {"cluster": "mild", "regime": "switch", "workflows": 2}
    facts: dict[str, Any] = {
        "suite": "real-dag",
        "cell": "mild/switch/W2",
        "seed": 0,
        "policy": policy,
        "commit": "c",
        "code": "d",
        "settings": settings,
        "workflows": 2,
        "stages": 10,
        "makespan_s": makespan_s,
        "least_s": makespan_s / 4,
        "mean_s": makespan_s / 2,
        "p95_s": makespan_s,
        "latencies_s": [makespan_s / 2, makespan_s],
        "loads": 3,
        "evictions": 1,
        "calls": 10,
        "prompt_tokens": 100,
        "cached_tokens": 25,
        "computed_tokens": 75,
        "output_tokens": 50,
        "moved_bytes": 10**9,
        "load_s": 2.0,
        "transfer_s": 2.0,
        "prefix_s": 2.0,
        "own_s": 1.0,
        "decode_s": 3.0,
        "tool_s": 0.0,
        "idle_s": 10.0,
        "decisions": 7,
        "searched": 70,
        "fallback_calls": 0,
    }
    return Run(**{**facts, **changes})
