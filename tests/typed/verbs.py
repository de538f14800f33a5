from __future__ import annotations

import datetime as dt
from typing import assert_type

from qorworker.models import Job, Schedule


async def of_a_job(job: Job, moment: dt.datetime) -> None:
    assert_type(job.rerun(by=None, mode="replace"), Job)
    assert_type(await job.arerun({"by": "Ben"}), Job)
    job.cancel(by=None, reason="wrong")
    await job.acancel(by=None, reason="wrong")
    job.reschedule(moment)
    job.wait(timeout=dt.timedelta(seconds=3))

    job.cancel(resaon="wrong")  # type: ignore[call-arg]
    await job.acancel(resaon="wrong")  # type: ignore[call-arg]
    job.reschedule("tomorrow")  # type: ignore[arg-type]
    job.abort("It takes too long.")  # type: ignore[call-arg]


def of_many_jobs() -> None:
    assert_type(Job.objects.failed().retry(by=None), int)
    assert_type(Job.objects.all().finished().delete(), tuple[int, dict[str, int]])

    Job.objects.waiting().cancel(resaon="wrong")  # type: ignore[call-arg]
    Job.objects.cancel()  # type: ignore[attr-defined]


def of_a_schedule(schedule: Schedule) -> None:
    assert_type(schedule.run_now(by=None), Job)
    assert_type(schedule.skip_next(), dt.datetime)
    schedule.pause(until=dt.datetime.now(dt.UTC))

    schedule.pause(till=None)  # type: ignore[call-arg]
