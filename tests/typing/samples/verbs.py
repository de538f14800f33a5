"""The verbs of jobs and of schedules."""

from __future__ import annotations

import datetime as dt
from typing import assert_type

from qorworker import Job, RowKeys, Schedule


async def of_a_job(job: Job, moment: dt.datetime) -> None:
    assert_type(job.rerun(by=None, mode="replace"), Job)
    assert_type(await job.arerun({"by": "Ben"}), Job)
    assert_type(job.rerun_failed_rows(by=None, mode="replace"), Job)
    assert_type(await job.arerun_failed_rows(by=None), Job)
    assert_type(job.row_keys, RowKeys | None)
    assert_type(job.repeatable_rows, int)
    job.cancel(by=None, reason="wrong")
    await job.acancel(by=None, reason="wrong")
    job.reschedule(moment)
    job.wait(timeout=dt.timedelta(seconds=3))

    job.cancel(resaon="wrong")  # error: call-arg | reportCallIssue | "resaon"
    await job.acancel(resaon="wrong")  # error: call-arg | reportCallIssue | "resaon"
    job.reschedule("tomorrow")  # error: arg-type | reportArgumentType | "datetime"
    job.abort("It takes too long.")  # error: call-arg | reportCallIssue | "ositional argument"


def of_a_schedule(schedule: Schedule) -> None:
    assert_type(schedule.run_now(by=None), Job)
    assert_type(schedule.skip_next(), dt.datetime)
    schedule.pause(until=dt.datetime.now(dt.UTC))

    schedule.pause(till=None)  # error: call-arg | reportCallIssue | "till"
