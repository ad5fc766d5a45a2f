"""Texts with their segment keys: what a prompt is put together from."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

from fate.domain.errors import FateError

#: Joined outputs that get a segment of their own; the rest becomes one, since a longer prompt
#: path costs more to compare than its prefix can save.
MAX_JOINED = 12

#: A text behind its segment key.
Keyed: TypeAlias = tuple[str, str]


class ExpandError(FateError):
    """A stage cannot be rendered with the values it got."""

    code = "expand"


def text_key(text: str) -> str:
    """Return the segment key of a text: equal for equal texts, in any workflow."""
    return blake2b(text.encode(), digest_size=6).hexdigest()


def plain(text: str) -> list[Keyed]:
    """Return a text under the key of its content."""
    return [(text_key(text), text)]


def joined(elements: Sequence[Sequence[Keyed]], separator: str) -> list[Keyed]:
    """Return elements with separators between them, the last ones as one where they are many."""
    found: list[Keyed] = []
    for number, texts in enumerate(elements):
        if number and separator:
            found += plain(separator)
        found += texts
    limit = 2 * MAX_JOINED - 1
    if len(found) > limit:
        found = [*found[:limit], *plain("".join(text for _, text in found[limit:]))]
    return found
