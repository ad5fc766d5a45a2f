"""Quantities as people write them."""

import re

#: Bytes in a mebibyte.
MIB = 2**20

_DECIMAL = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY = {"KIB": 2**10, "MIB": MIB, "GIB": 2**30, "TIB": 2**40}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNITS = {**_DECIMAL, **_BINARY}
_QUANTITY = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*$")


def parse_size(value: object) -> int:
    """Return bytes of `300MiB`, `1.5 GB` or a plain number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _QUANTITY.match(value) if isinstance(value, str) else None
    unit = match.group(2).upper() if match else ""
    if match is None or (unit and unit not in _UNITS):
        raise ValueError(f"not a size: {value!r}; write bytes or a number with a unit, as 300MiB")
    return round(float(match.group(1)) * _UNITS[unit or "B"])


def parse_bandwidth(value: object) -> float:
    """Return bytes per second of `100MB/s`."""
    text = value if isinstance(value, str) else ""
    number, slash, second = text.partition("/")
    try:
        size = parse_size(number) if slash and second.strip() == "s" else 0
    except ValueError:
        size = 0
    if size <= 0:
        raise ValueError(f"not a bandwidth: {value!r}; write it as 100MB/s")
    return float(size)


def parse_duration(value: str) -> float:
    """Return the seconds of `30d`, `12h`, `45m`, `90s` or `2w`."""
    match = _QUANTITY.match(value)
    if match is None or match.group(2) not in _SECONDS:
        raise ValueError(f"not a duration: {value!r}; write a number with a unit, as 30d or 12h")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def parse_seconds(value: object) -> float:
    """Return the seconds of `3s`, `500ms`, `2m` or a plain number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    match = _QUANTITY.match(value) if isinstance(value, str) else None
    seconds = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
    if match is None or match.group(2) not in seconds:
        raise ValueError(f"not a time: {value!r}; write seconds, or a number with a unit, as 3s")
    return float(match.group(1)) * seconds[match.group(2)]
