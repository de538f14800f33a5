"""Files that jobs add in a worker: on the page while they run, and never by half."""

import datetime as dt
from pathlib import Path

import pytest
from django.core.files.storage import default_storage

from qorworker.actions import pruning
from qorworker.arguments import files
from qorworker.models import JobFile
from tests.support import ended, wait_until
from tests.testapp import jobs

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def _storage(settings):
    """The folder that workers have, too."""
    yield
    for key in files.stored(default_storage):
        default_storage.delete(key)


def test_a_file_is_there_while_its_job_runs(worker, tmp_path):
    job = jobs.add_files.enqueue(name="../report.txt", wait_for=str(tmp_path / "gate"))
    row = wait_until(job.files.first)
    job.refresh_from_db()
    assert (job.status, job.files_count, row.name, row.attempt) == ("running", 1, "report.txt", 1)
    assert files.fetch(row.kept).read() == b"../report.txt"
    (tmp_path / "gate").touch()
    assert ended(job).status == "done"
    assert job.results_titles == ["File", "Size"]
    [result] = job.results.all()
    assert (result.key, result.cells[0]["file"]) == ("../report.txt", row.token)


def test_a_process_that_dies_while_it_stores_leaves_no_row_and_pruning_finds_the_part(worker, monkeypatch):
    job = ended(jobs.die_while_storing.enqueue())
    assert (job.status, job.attempts.get().outcome) == ("exception", "crashed")
    assert (job.files_count, JobFile.objects.count()) == (0, 0)
    assert list(pruning.stray_uploads(default_storage)) == []  # it is too young
    monkeypatch.setattr(pruning, "UPLOAD_AGE", dt.timedelta(days=-1))
    [part] = pruning.stray_uploads(default_storage)
    assert Path(default_storage.path(part)).stat().st_size < 100_000
