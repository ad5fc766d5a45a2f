"""Run directories."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fate.store import RUN_FILE, RunStore, StoreError, default_root

NOON = datetime(2026, 11, 24, 12, 0, 0, 999_500, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """A store that does not exist yet."""
    return RunStore(tmp_path / "home" / "runs")


def started(store: RunStore, now: datetime) -> Path:
    """Return a new run directory with a run file in it."""
    path = store.new(now)
    (path / RUN_FILE).touch()
    return path


def test_runs_of_the_same_instant_get_different_names(store: RunStore) -> None:
    """Ids are unique and sort by time, also over the end of a second."""
    names = [started(store, NOON).name for _ in range(3)]
    assert names == ["20261124-120000-999", "20261124-120001-000", "20261124-120001-001"]
    assert [path.name for path in store.list()] == names[::-1]


def test_a_run_is_found_by_id_start_path_or_last(store: RunStore) -> None:
    """All ways lead to its run file."""
    first = started(store, NOON)
    second = started(store, NOON.replace(hour=13))
    store.new(NOON.replace(hour=14))  # never started: not a run yet
    assert store.find("last") == second / RUN_FILE
    for what in (first.name, "20261124-12", str(first), str(first / RUN_FILE)):
        assert store.find(what) == first / RUN_FILE


def test_what_means_no_run_or_several_is_refused(store: RunStore) -> None:
    """The message names what there is."""
    with pytest.raises(StoreError, match="there are none yet"):
        store.find("last")
    started(store, NOON)
    second = started(store, NOON.replace(hour=13))
    with pytest.raises(StoreError, match="means any of 2 runs"):
        store.find("2026")
    with pytest.raises(StoreError, match=f"the newest is {second.name}"):
        store.find("1999")


def test_the_root_follows_fate_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One variable moves everything."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    assert RunStore().root == tmp_path / "runs"
    monkeypatch.delenv("FATE_HOME")
    assert default_root().parts[-2:] == ("fate", "runs")


def test_a_root_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """Not a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot create a run"):
        RunStore(tmp_path / "file" / "runs").new(NOON)
