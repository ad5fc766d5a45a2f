"""The long run that `fate bench resume` kills is one that `fate run` takes."""

from pathlib import Path

from fate.bench.kills import Workload
from fate.config import load_cluster
from fate.jobs import assemble
from fate.workflow.load import load_workflow


def test_a_long_run_has_as_many_lines_as_items(tmp_path: Path) -> None:
    """Workflow, cluster and text fit each other; the devices are fakes."""
    Workload(folder=tmp_path).prepare_long(40)
    text = (tmp_path / "text.txt").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 40
    cluster = load_cluster(tmp_path / "cluster.yaml")
    job = assemble(load_workflow(tmp_path / "workflow.yaml"), [{"text": text}], cluster)
    assert [setup.device.engine for setup in job.resolved.devices] == ["fake", "fake"]
    assert job.resolved.options.chunk_s == 0
