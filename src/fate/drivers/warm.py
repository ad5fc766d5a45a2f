"""Brings the compiled kernel up beside the first decisions, which the reference takes."""

import os
import threading
from pathlib import Path

from platformdirs import user_cache_path

from fate.policy.base import Policy
from fate.policy.kernel import backend


def start_warm_up(policy: Policy) -> threading.Thread | None:
    """Compile or load the kernel in a thread if the policy is one that searches.

    Both kernels answer alike to the last bit, so it does not matter when this one is ready.
    """
    if policy.inline:
        return None
    home = os.environ.get("FATE_HOME")
    cache = (Path(home) if home else user_cache_path("fate")) / "kernel"
    thread = threading.Thread(
        target=backend.warm,
        args=(str(cache),),
        kwargs={"whole": policy.lookahead == "all"},
        name="warm-up",
        daemon=True,
    )
    thread.start()
    return thread
