"""Policies as the suites use them: built, and with their kernel compiled."""

from typing import cast

from fate.drivers.warm import start_warm_up
from fate.policy.base import Policy
from fate.registry import build


def ready_policy(name: str) -> Policy:
    """Build a policy and wait until the compiled kernel, if it wants one, is in use."""
    policy = cast("Policy", build("policy", name))
    thread = start_warm_up(policy)
    if thread is not None:
        thread.join()
    return policy
