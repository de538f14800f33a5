"""The verbs of many jobs. pyright does not know the managers that Django makes of QuerySets, so it skips this."""

from __future__ import annotations

from typing import assert_type

from qorworker import Job


def of_many_jobs() -> None:
    assert_type(Job.objects.failed().retry(by=None), int)
    assert_type(Job.objects.all().finished().delete(), tuple[int, dict[str, int]])

    Job.objects.waiting().cancel(resaon="wrong")  # error: call-arg | - | "resaon"
    Job.objects.cancel()  # error: attr-defined | - | "cancel"
