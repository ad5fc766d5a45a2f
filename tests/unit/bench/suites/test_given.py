"""Own data: rows hold for what a file or folder had in it."""

from pathlib import Path

import msgspec
from tests.unit.bench.suites.test_real_dag import instance_folder

from fate.bench.suites.given import given
from fate.bench.suites.real_dag import ProxySpec


def test_digest_is_of_what_is_read(tmp_path: Path) -> None:
    """The same wherever it lies; another name, other bytes and files below count."""
    folder, copy = tmp_path / "a", tmp_path / "b"
    for each in (folder, copy):
        (each / "deep").mkdir(parents=True)
        (each / "one.json").write_text("{}")
        (each / "deep" / "two.json").write_text("[]")
    found = [given(folder).digest, given(copy).digest]
    (copy / "notes.txt").write_text("nobody reads this")
    found.append(given(copy).digest)
    assert len(set(found)) == 1
    (copy / "deep" / "two.json").write_text("[1]")
    found.append(given(copy).digest)
    (copy / "deep" / "two.json").rename(copy / "deep" / "three.json")
    found.append(given(copy).digest)
    (copy / "deep" / "three.json").rename(copy / "three.json")
    found += [given(copy).digest, given(copy / "one.json").digest]
    assert len(set(found)) == 5


def test_calibration_holds_for_what_a_folder_had_in_it(tmp_path: Path) -> None:
    """Other instances under the same path are calibrated anew."""
    folder = instance_folder(tmp_path / "dags")
    spec = ProxySpec(cluster="mild", regime="switch", workflows=2, instances=given(folder))
    spec.case(0, tmp_path)
    spec.case(0, tmp_path)
    assert len(list((tmp_path / "calibration").iterdir())) == 1
    file = min(folder.rglob("*.json"))
    file.write_text(file.read_text() + " ")
    changed = msgspec.structs.replace(spec, instances=given(folder))
    assert changed != spec
    changed.case(0, tmp_path)
    assert len(list((tmp_path / "calibration").iterdir())) == 2
