"""Tasks of ``django.tasks`` with a real ``runworker``: the framework's contract, and abort."""

import pytest

from qorworker.exceptions import JobAborted
from qorworker.models import Job
from qorworker.testing.task_backends import TaskBackendContract
from tests.backends.test_tasks import tasks_settings  # noqa: F401
from tests.support import ended, log_of, running_worker, wait_until
from tests.testapp import tasks as documented

pytestmark = [pytest.mark.process, pytest.mark.once]


@pytest.fixture(scope="module")
def worker(open_database, tmp_path_factory):
    with running_worker(folder=tmp_path_factory.mktemp("worker"), ABORT_GRACE=1) as worker:
        yield worker


class TestQorWorkerBackend(TaskBackendContract):
    """With a real ``runworker``."""

    sends_signals_here = False
    accepts_timedelta = True
    is_strict = True

    @pytest.fixture
    def running(self, worker, transactional_db, tasks_settings):  # noqa: F811
        yield
        assert worker.process.poll() is None, worker.said


def test_a_task_that_runs_is_aborted_from_its_job(worker, transactional_db, tasks_settings, tmp_path):  # noqa: F811
    result = documented.telling.enqueue(str(tmp_path / "told"), gate=str(tmp_path / "gate"))
    wait_until(lambda: (tmp_path / "told").exists())
    Job.objects.get(pk=result.id).abort()
    assert ended(Job.objects.get(pk=result.id)).status == "killed"
    result.refresh()
    assert (result.status, result.attempts) == ("FAILED", 1)
    assert result.errors[0].exception_class is JobAborted
    assert log_of(Job.objects.get(pk=result.id)) == ["printed", "by the job's context"]
