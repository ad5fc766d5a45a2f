"""Files of what runs have learned."""

from pathlib import Path

import msgspec
import pytest

from fate.store.learned import read_or_empty, write_whole


class Facts(msgspec.Struct, kw_only=True):
    """Something to keep."""

    values: list[object] = []


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Folders are made on the way; a file that is missing or damaged counts as empty."""
    path = tmp_path / "new" / "facts.json"
    assert read_or_empty(path, Facts) == Facts()
    write_whole(path, Facts(values=[1, "a"]))
    assert read_or_empty(path, Facts) == Facts(values=[1, "a"])
    path.write_text("{", encoding="utf-8")
    assert read_or_empty(path, Facts) == Facts()


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """Nothing half-written is kept, and no draft lies beside the file."""
    path = tmp_path / "facts.json"
    write_whole(path, Facts(values=[1]))
    with pytest.raises(TypeError):
        write_whole(path, Facts(values=[object()]))
    assert read_or_empty(path, Facts) == Facts(values=[1])
    assert list(tmp_path.iterdir()) == [path]
