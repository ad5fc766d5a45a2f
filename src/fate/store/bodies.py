"""Records as they lie in a run file: JSON, squeezed where it is long.

What a policy remembers of a plan names every stage it planned for. Ten thousand such plans would
take a quarter of a gigabyte as text; names repeat, so that squeezed they take a fifth of it.
"""

import zlib

#: Shorter texts gain nothing. The level is the quickest one: 30 kB take a third of a millisecond.
_LONG, _LEVEL = 2_000, 1
#: How the JSON of a record begins, and a squeezed one never does.
_PLAIN = b"{"


def packed(text: bytes) -> bytes:
    """Return the JSON of a record as it is stored."""
    return zlib.compress(text, _LEVEL) if len(text) > _LONG else text


def unpacked(body: bytes) -> bytes:
    """Return the JSON of a stored record.

    Raises:
        ValueError: it is damaged.
    """
    if body.startswith(_PLAIN):
        return body
    try:
        return zlib.decompress(body)
    except zlib.error as error:
        raise ValueError(str(error)) from None
