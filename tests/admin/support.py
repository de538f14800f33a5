"""Rows in every state and job types of every kind, for the tests of the pages."""

from __future__ import annotations

import datetime as dt
import re
from io import BytesIO
from typing import Any, Literal
from zipfile import ZipFile

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import UploadedFile
from django.urls import reverse
from django.utils import timezone

from qorworker import JobContext, Secret, job
from qorworker.definitions.registry import registry
from qorworker.models import Job, Worker
from tests.testapp.models import Shop

XSS = "<script>alert('x')</script>"
LONG_AGO = dt.timedelta(days=30)
BASE = reverse("admin:index") + "qorworker/job/"

# A job as it is in each state that has buttons of its own.
STATES: dict[str, dict[str, Any]] = {
    "new": {"status": "new"},
    "scheduled": {"status": "scheduled"},
    "will_retry": {"status": "scheduled", "attempt": 1, "max_attempts": 3},
    "paused": {"status": "scheduled", "pause_requested_at": timezone.now()},
    "running": {"status": "running"},
    "looping": {"status": "running", "checkpoint": "{}"},
    "pausing": {"status": "running", "checkpoint": "{}", "pause_requested_at": timezone.now()},
    "aborting": {"status": "running", "abort_requested_at": timezone.now()},
    "silent": {"status": "running", "lease_expires_at": timezone.now() - LONG_AGO},
    "done": {"status": "done"},
    "exception": {"status": "exception", "error": "KeyError: 'sku'"},
    "killed": {"status": "killed"},
    "cancelled": {"status": "cancelled"},
}


def open_type() -> None:
    """Without a permission of its own."""


def greet(context: JobContext, subject: str, copies: int = 1, mode: Literal["plain", "rich"] = "plain") -> None:
    """Greets somebody.

    Several times, if that is wanted.
    """


def log_in(password: Secret[str], user_name: str = "root") -> None:
    """Has a secret."""


def upload(file: UploadedFile, shop: Shop) -> None:
    """Has a file and a row."""


def by_name() -> None:
    """Has the name of a permission."""


def by_code() -> None:
    """Has a function as its permission."""


def asks() -> None:
    """Wants to be confirmed."""


def plain_rule(user: Any, job_type: Any, action: str) -> bool:
    return bool(user.get_username() == f"may-{action}")


def declare() -> dict[str, Any]:
    """Register the types; ``forget`` takes them away again."""
    return {
        "open": job(name="tests.open", title="Open door", group="Doors")(open_type),
        "greet": job(name="tests.greet", title="Send greetings", group="Mail", max_attempts=3)(greet),
        "log_in": job(name="tests.log_in", title="Log in", schedulable=False)(log_in),
        "upload": job(name="tests.upload", title="Upload")(upload),
        "by_name": job(name="tests.by_name", title="By name", permission="testapp.change_shop")(by_name),
        "by_code": job(name="tests.by_code", title="By code", permission=plain_rule)(by_code),
        "asks": job(name="tests.asks", title="Asks first", confirm="Everything will be deleted.")(asks),
    }


class only_these_types:
    """Within it the registry has the types of ``declare`` and no others."""

    def __enter__(self) -> dict[str, Any]:
        self.before = registry.with_hidden()
        for job_type in self.before:
            registry.unregister(job_type.name)
        return declare()

    def __exit__(self, *error: object) -> None:
        for name in registry.names():
            registry.unregister(name)
        for job_type in self.before:
            registry.register(job_type)


def user_with(*codenames: str, name: str = "staff") -> Any:
    """Staff with exactly these permissions, given as "app.codename"."""
    user = get_user_model().objects.create_user(name, password="pw", is_staff=True)
    for codename in codenames:
        app, code = codename.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=code))
    return user


def superuser(name: str = "root") -> Any:
    return get_user_model().objects.create_superuser(name, password="pw")


def make_job(job_type: Any, status: str = "new", **fields: Any) -> Job:
    """A row that could have come about."""
    now = timezone.now()
    made: dict[str, Any] = {"enqueued_at": now, "run_after": now}
    if status == "scheduled":
        made["run_after"] = now + dt.timedelta(hours=5)
    if status == "running":
        made |= {"attempt_token": "t" * 32, "lease_expires_at": now + LONG_AGO}
    if status in ("running", "done", "exception", "killed") or fields.get("attempt"):
        made |= {"attempt": 1, "started_at": now, "last_attempted_at": now}
    if status in ("done", "exception", "killed", "cancelled"):
        made["finished_at"] = now
    name = getattr(job_type, "name", job_type)
    fingerprint = getattr(getattr(job_type, "arguments", None), "fingerprint", "")
    return Job.objects.create(name=name, status=status, **{"fingerprint": fingerprint, **made, **fields})


def in_state(job_type: Any, state: str, **fields: Any) -> Job:
    return make_job(job_type, **{**STATES[state], **fields})


def stored(job_type: Any, **arguments: Any) -> dict[str, Any]:
    """Arguments as they stand in the table; secrets come from code."""
    return stored_by(None, job_type, **arguments)


def stored_by(person: Any, job_type: Any, **arguments: Any) -> dict[str, Any]:
    """Arguments as they stand in the table; *person* entered the secrets."""
    return job_type.arguments.dump(job_type.arguments.clean(arguments), person=person)


def a_worker(**fields: Any) -> Worker:
    made = {"name": "web-1:7", "host": "web-1", "process_id": 7, "version": "1", "slots": 2, "queues": ["default"]}
    return Worker.objects.start(**{**made, "job_types": registry.names(), **fields})


def page_of(job: Job, end: str = "change/") -> str:
    return f"{BASE}{job.pk}/{end}"


def text_of(response: Any) -> str:
    body = b"".join(response.streaming_content) if response.streaming else response.content
    if "spreadsheet" in response["Content-Type"]:
        with ZipFile(BytesIO(body)) as parts:
            body = b"\n".join(map(parts.read, parts.namelist()))
    return compact(body.decode()) if "html" in response["Content-Type"] else body.decode()


def compact(page: str) -> str:
    """The page without the line breaks and indentation of its templates, where they are not between words."""
    page = re.sub(r"(<[a-z][^>]*>)\s*\n\s*", r"\1", page)
    page = re.sub(r"\s*\n\s*(?=</)|(?<=>)\s*\n\s*(?=<)", "", page)
    return re.sub(r"\s*\n\s*", " ", page)


def without_tokens(page: str) -> str:
    """The text of a page without what differs from one request to the next."""
    return re.sub(r'(name="csrfmiddlewaretoken" value=)"\w+"', r"\1", page)


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]
