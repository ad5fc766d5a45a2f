"""How `fate explain` understands stages."""

import pytest

from fate.cli.explain import names
from fate.domain.graph import Chunk


@pytest.mark.parametrize(
    ("instance", "stage", "meant"),
    [
        ("w/notes", "notes", True),
        ("w/notes", "w/notes", True),
        ("w/notes", "v/notes", False),
        ("w/notes", "note", False),
        ("w/notes", "notes[17]", True),
        ("w/notes", "w/notes[19]", True),
        ("w/notes", "notes[20]", False),
        ("w/study[3].notes", "study[3].notes", True),
        ("w/study[3].notes", "study[3].notes[17]", True),
        ("w/study[3].notes", "study[4].notes", False),
        ("w/study[3].notes", "study[3]", True),
        ("w/study[3].notes", "study[17]", False),
        ("w/study[3].notes", "study", True),
        ("w/study[3].notes", "study.notes", True),
        ("w/refine#2", "refine#2", True),
        ("w/refine#2", "refine#1", False),
        ("w/refine#2", "refine", True),
        ("w/solve#2.verify", "solve#2", True),
        ("w/solve#2.verify", "solve.verify", True),
    ],
)
def test_a_stage_as_users_write_it(instance: str, stage: str, meant: bool) -> None:
    """With or without workflow, an item, a scope, a round, a group, or the written name."""
    assert names(Chunk(instance, 16, 20), stage) is meant
