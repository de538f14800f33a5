import pytest

from qorworker import job
from qorworker.execution.execute import execute
from qorworker.execution.messages import Work
from tests.fixtures import isolation
from tests.job_types import own_types

__all__ = ["isolation", "own_types"]


@pytest.fixture(autouse=True)
def _own_types(own_types):
    """Job types that a test declares are gone after it, in all tests of this folder."""


@pytest.fixture
def run(transactional_db):
    """``run(function, max_attempts=3)``: one attempt of a job of this type, and everything it sent."""

    def run(function, arguments="{}", *, attempt=1, name=None, aborts=False, token="t", **options):
        if function is not None:
            job(name="test.job", **options)(function)
        max_attempts = options.get("max_attempts", 1)
        sent = []
        work = Work(7, name or "test.job", arguments, attempt, max_attempts, token)
        return execute(work, sent.append, abort_requested=lambda: aborts), sent

    return run
