"""The options of ``@job`` and of ``using``."""

from __future__ import annotations

import datetime as dt
from typing import assert_type

from django import forms

from qorworker import Cron, EnqueueOptions, FormJobOptions, Job, JobOptions, Unique, job


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


assert_type(bare.using(user=None, meta={"order": 7}).enqueue(number=1), Job)
assert_type(bare.using(run_after=dt.timedelta(hours=1), priority=50).using(unique_key="nightly").enqueue(1), Job)
assert_type(with_options.timeout, float | None)

options: JobOptions = {"max_attempts": 3}
with_form: FormJobOptions = {"form": forms.Form, "max_attempts": 3}
defaults: EnqueueOptions = {"priority": 3}


def handler(number: int) -> str:
    return str(number)


job(**options)(handler).enqueue(number=1)
job(**with_form)(handler).enqueue(anything=1)
bare.using(**defaults).enqueue(1)


job(retries=3)(handler)  # error: call-overload | reportCallIssue | "job"
job(max_attempts="3")(handler)  # error: call-overload | reportArgumentType | "job"
job(isolation="thread")(handler)  # error: call-overload | reportArgumentType | "job"
job(timeout="30m")(handler)  # error: call-overload | reportArgumentType | "job"
job(keep_for="a week")(handler)  # error: call-overload | reportArgumentType | "job"
job(form=int)(handler)  # error: arg-type | reportArgumentType | "form"
job("name")(handler)  # error: call-overload | reportArgumentType,reportCallIssue | "job"
bare.using(countdown=3)  # error: call-arg | reportCallIssue | "countdown"
bare.using(priority="high")  # error: arg-type | reportArgumentType | "int"
bare.using(run_after=60)  # error: arg-type | reportArgumentType | "timedelta"
wrong_key: EnqueueOptions = {"priorty": 3}  # error: typeddict-unknown-key | reportAssignmentType | "priorty"
print(bare.tiemout)  # error: attr-defined | reportAttributeAccessIssue | "tiemout"
