"""``job_of_command``."""

from __future__ import annotations

from typing import Any, assert_type

from qorworker import Job, JobType, job_of_command

send_reports = job_of_command("sendreports", group="Mail", arguments=["--loop"], secrets=["--token"], max_attempts=3)

assert_type(send_reports.enqueue(day="2030-01-02"), Job)
assert_type(send_reports.using(priority=50).enqueue_raw({"day": "2030-01-02"}), Job)


def takes(any_type: JobType[..., Any], of_nothing: JobType[..., None]) -> None: ...


takes(send_reports, send_reports)

job_of_command("sendreports", colour=1)  # error: call-arg | reportCallIssue | "colour"
job_of_command("sendreports", priority="high")  # error: arg-type | reportArgumentType | "int"
job_of_command("sendreports", arguments=7)  # error: arg-type | reportArgumentType | "Sequence[str]"
job_of_command()  # error: call-arg | reportCallIssue | "command"
