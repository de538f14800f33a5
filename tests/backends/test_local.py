"""The default backend keeps the contract, with a real ``runworker``."""

import pytest

from qorworker.testing.backends import BackendContract
from tests.support import running_worker

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def worker(open_database, tmp_path_factory):
    with running_worker(folder=tmp_path_factory.mktemp("worker"), processes=2, ABORT_GRACE=1) as worker:
        yield worker


class TestLocalBackend(BackendContract):
    queue_name = "default"

    @pytest.fixture
    def running(self, worker, transactional_db):
        yield
        assert worker.process.poll() is None, worker.said
