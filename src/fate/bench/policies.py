"""Policies as the suites use them: built, with options, and with their kernel compiled."""

import json
from typing import Any, cast

from fate.domain.errors import FateError
from fate.drivers.warm import start_warm_up
from fate.policy.base import Policy
from fate.registry import build


def ready_policy(name: str) -> Policy:
    """Build a policy and wait until the compiled kernel, if it wants one, is in use.

    Args:
        name: a registered name, with options behind it where they differ from the defaults:
            `fate?depth=0&residency=false`.

    Raises:
        FateError: no such policy, or no such option.
    """
    policy = plain_policy(name)
    thread = start_warm_up(policy)
    if thread is not None:
        thread.join()
    return policy


def plain_policy(name: str) -> Policy:
    """Build a policy, whether its kernel is compiled or not.

    Raises:
        FateError: no such policy, or no such option.
    """
    plain, options = split_options(name)
    return cast("Policy", build("policy", plain, **options))


def policy_list(text: str) -> list[str]:
    """Return the policies that `--policies` names, each once.

    Raises:
        FateError: none is named, one is not registered, or has no such option.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise FateError("--policies: no name given")
    for name in found:
        plain_policy(name)
    return list(dict.fromkeys(found))


def split_options(name: str) -> tuple[str, dict[str, Any]]:
    """Return the registered name and the options in `name?option=value&option=value`."""
    plain, question, text = name.partition("?")
    options: dict[str, Any] = {}
    for part in text.split("&") if question else ():
        option, equals, value = part.partition("=")
        if not option or not equals:
            raise FateError(f"policy {name!r}: {part!r} is no option=value")
        options[option] = _value(value)
    return plain, options


def _value(text: str) -> object:
    """Return a finite number, true or false as such, everything else as text."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text
