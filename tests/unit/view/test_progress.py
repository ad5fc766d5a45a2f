"""Progress lines."""

from fate.domain import messages as m
from fate.domain.catalog import Cluster
from fate.view.progress import Progress


def test_lines_say_what_is_going_on(cluster: Cluster, records: list[m.Record]) -> None:
    """One line per change: maps by items, calls and loads by device, then totals."""
    lines: list[str] = []
    progress = Progress(cluster, lines.append, every_s=0.0)
    for record in records:
        progress.add(record, record.at_s)
    assert lines == [
        "0.0s  0/3 stages  0 loads",
        "0.5s  loading a on d0  0/3 stages  0 loads",
        "1.5s  notes 0/2  0/3 stages  1 load",
        "3.5s  notes 1/2  0/3 stages  1 load",
        "5.5s  1/3 stages  1 load",
        "5.6s  loading b on d1  1/3 stages  1 load",
        "7.6s  draft running on d1 (b)  1/3 stages  2 loads",
        "9.6s  2/3 stages  2 loads",
        "9.6s  join running on host  2/3 stages  2 loads",
        "10.0s  workflow w ok",
        "10.0s  3/3 stages  2 loads",
    ]


def test_ordinary_news_are_rate_limited(cluster: Cluster, records: list[m.Record]) -> None:
    """A quick run says little; what was held back is in the next line."""
    lines: list[str] = []
    progress = Progress(cluster, lines.append, every_s=4.0)
    for record in records:
        progress.add(record, record.at_s)
    assert [line.split("s ")[0] for line in lines] == ["0.0", "5.5", "9.6", "10.0"]


def test_trouble_is_never_held_back(cluster: Cluster, records: list[m.Record]) -> None:
    """Failures and lost devices come at once, with the reason; simulated lines say so."""
    lines: list[str] = []
    progress = Progress(cluster, lines.append, every_s=1e9, simulated=True)
    trouble = (
        m.Failed(activity=2, reason="out of memory"),
        m.DeviceLost(device="d1", reason="killed"),
    )
    for record in [*records[:4], m.Record(at_s=2.0, events=trouble)]:
        progress.add(record, record.at_s)
    assert lines[1:] == [
        "simulated 2.0s  call notes on d0 failed: out of memory",
        "simulated 2.0s  device d1 lost: killed",
    ]
