from __future__ import annotations

import datetime as dt
from typing import Any, assert_type

from qorworker import Cron, Unique, job
from qorworker.definitions.job_type import JobType
from qorworker.definitions.options import EnqueueOptions, JobOptions
from qorworker.models import Job


@job
def bare(number: int) -> str:
    return str(number)


@job(
    title="Import", group="Catalogue", queue_name="mail", priority=5, max_attempts=3, backoff=lambda attempt: attempt,
    timeout=dt.timedelta(minutes=30), memory_limit=10**9, permission=lambda user, job_type, action: True,
    schedule=[Cron("30 6 * * *")], isolation="process", max_concurrency=2, rate_limit=(10, dt.timedelta(minutes=1)),
    concurrency_key=["number"], unique=Unique(by=["number"]), on_row_errors="done", keep_for={"done": "forever"},
)  # fmt: skip
def with_options(number: int) -> str:
    return str(number)


assert_type(bare, JobType[str])
assert_type(with_options, JobType[str])
assert_type(bare.using(run_after=dt.timedelta(hours=1), priority=50, unique_key="nightly"), JobType[str])
assert_type(bare.using(user=None, meta={"order": 7}).enqueue(number=1), Job)

options: JobOptions = {"max_attempts": 3}
job(**options)(with_options.function)
defaults: EnqueueOptions = {"priority": 3}
bare.using(**defaults)


def handler(*args: Any) -> None: ...


job(retries=3)(handler)  # type: ignore[call-overload]
job(max_attempts="3")(handler)  # type: ignore[call-overload]
job(isolation="thread")(handler)  # type: ignore[call-overload]
job(timeout="30m")(handler)  # type: ignore[call-overload]
job(keep_for="a week")(handler)  # type: ignore[call-overload]
bare.using(countdown=3)  # type: ignore[call-arg]
bare.using(priority="high")  # type: ignore[arg-type]
bare.using(run_after=60)  # type: ignore[arg-type]
