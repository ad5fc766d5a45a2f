"""The two lines at the end of a run."""

import pytest

from fate.domain import messages as m
from fate.domain.catalog import Cluster
from fate.view.critical import critical_path
from fate.view.fold import Fold
from fate.view.verdict import dominated, path_seconds, saved


def folded(cluster: Cluster, records: list[m.Record]) -> Fold:
    """A fold that has taken the records in."""
    fold = Fold(cluster)
    for record in records:
        fold.add(record)
    return fold


def test_the_path_to_the_end_is_divided_by_what_it_went_into(
    cluster: Cluster, records: list[m.Record]
) -> None:
    """Two loads, a map, a draft and a tool, with two plans waited for: 10 s in all."""
    history = folded(cluster, records).history()
    path = [history.bars[number] for number in critical_path(history)]
    found = path_seconds(path, history.start_s)
    assert found == pytest.approx(
        {"loads": 3.0, "prefill": 1.7, "decode": 4.3, "tools": 0.4, "moves": 0.0, "waiting": 0.6}
    )


def test_the_first_line_names_what_dominated(cluster: Cluster, records: list[m.Record]) -> None:
    """And how much of the devices was idle, with the chief reason."""
    assert dominated(folded(cluster, records)) == (
        "verdict: decode dominated the path to the end (decode 43%, loads 30%, prefill 17%, "
        "waiting 6%, tools 4%); devices idle 55%, mostly waiting for parents"
    )
    assert dominated(Fold(cluster)) == "verdict: nothing ran"


def test_the_second_line_says_that_it_is_simulated() -> None:
    """A saving below a hundredth is none."""
    line = saved(50.0, [("another device saves", 40.0), ("more memory", 49.9)])
    assert line == "simulated: of 50.0 s, another device saves 10.0 s (20%); more memory nothing"
