import re

import pytest

from qorworker import job
from qorworker.definitions.registry import registry
from qorworker.exceptions import JobTypeError
from tests.job_types import own_types  # noqa: F401

pytestmark = pytest.mark.usefixtures("own_types")


def test_a_type_says_how_many_of_its_jobs_share_a_child():
    @job(concurrency=100, max_attempts=3, timeout=30, unique=True)
    async def check() -> None: ...

    assert check.concurrency == 100
    assert registry.concurrency_of(check.name) == 100
    assert registry.concurrency_of("testapp.noop") is registry.concurrency_of("unknown") is None


@pytest.mark.parametrize("value", [0, 1, -5, 1001, 2.5, True, "10"])
def test_a_wrong_number_is_refused(value):
    with pytest.raises(JobTypeError, match=r"concurrency=.* must be a whole number from 2 to 1000"):

        @job(concurrency=value, max_attempts=3)
        async def check() -> None: ...


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_attempts": 1}, "needs max_attempts above 1"),
        ({"isolation": "process"}, "cannot have isolation='process'"),
        ({"memory_limit": 10**8}, "cannot have a memory_limit"),
        ({"max_concurrency": 5}, "cannot have a max_concurrency"),
        ({"rate_limit": "10/m"}, "cannot have a rate_limit"),
        ({"atomic": True}, "needs a plain function"),
    ],
)
def test_options_that_do_not_go_with_it_are_refused_with_a_sentence(options, reason):
    with pytest.raises(JobTypeError, match=rf"test_sharing\.py:.*{re.escape(reason)}"):

        @job(**{"concurrency": 10, "max_attempts": 3, **options})
        async def check() -> None: ...


def test_a_plain_function_is_refused():
    with pytest.raises(JobTypeError, match=r"concurrency=10.*test_sharing\.py.* needs an async def"):

        @job(concurrency=10, max_attempts=3)
        def check() -> None: ...


def test_a_job_cannot_be_enqueued_as_one_that_may_not_run_again():
    @job(concurrency=10, max_attempts=3)
    async def check() -> None: ...

    with pytest.raises(ValueError, match=r"check\.using\(max_attempts=1\): .* re-runnable"):
        check.using(max_attempts=1)
    assert check.using(max_attempts=2).defaults == {"max_attempts": 2}
