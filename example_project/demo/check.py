"""The demo's check: one newsletter to its end and one aborted, by a real worker, on a scratch database."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.management.base import CommandError
from django.db import connection

from example_project.demo import data
from example_project.demo.processes import Processes
from example_project.demo.story import mails_in, story_of
from example_project.newsletter.jobs import send_newsletter
from qorworker import Secret
from qorworker.exceptions import JobTimeout
from qorworker.models import Job

Say = Callable[[str], object]


def run_and_abort(say: Say) -> None:
    """Run one job, abort another, tell both stories; raises ``CommandError`` if one does not end as it should."""
    with tempfile.TemporaryDirectory(prefix="qorworker-demo-") as folder, scratch_database(Path(folder)) as name:
        admin = data.make_users()
        data.make_rows()
        output = Path(folder) / "worker.log"
        with Processes({"EXAMPLE_VAR": folder, "EXAMPLE_DATABASE_NAME": name}) as processes:
            processes.start("runworker", output=output)
            try:
                everybody = len(data.NAMES)
                finished = tell(send_to_all(admin, processes), Path(folder) / "mail", say)
                expect(finished, "done", mails=range(everybody, everybody + 1))
                aborted = tell(send_and_abort(admin, processes), Path(folder) / "mail", say)
                expect(aborted, "killed", mails=range(1, everybody))
            except (CommandError, JobTimeout):
                say(f"The worker said:\n{output.read_text()}")
                raise


@contextmanager
def scratch_database(folder: Path) -> Iterator[str]:
    """A database of its own beside the project's, on the same server; yields its name."""
    options = connection.settings_dict["TEST"]
    options["NAME"] = (
        str(folder / "check.sqlite3") if connection.vendor == "sqlite" else f"qorworker_check_{os.getpid()}"
    )
    usual = str(connection.settings_dict["NAME"])
    name = connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        yield str(name)
    finally:
        connection.creation.destroy_test_db(usual, verbosity=0)


def newsletter(subject: str, user: AbstractUser, pause: float) -> Job:
    return send_newsletter.using(user=user).enqueue(
        subject=subject, content="Tea is ready.", password=Secret(settings.NEWSLETTER_PASSWORD), pause=pause
    )


Story = tuple[Job, list[int]]


def send_to_all(user: AbstractUser, processes: Processes) -> Story:
    job = newsletter("To everybody", user, pause=0.1)
    seen: list[int] = []
    processes.wait_until(lambda: watch(job, seen).is_finished, f"job {job.pk} to finish")
    return job, seen


def send_and_abort(user: AbstractUser, processes: Processes) -> Story:
    job = newsletter("To some", user, pause=1)
    seen: list[int] = []
    processes.wait_until(lambda: bool(watch(job, seen).progress), f"job {job.pk} to make progress")
    job.abort(by=user, reason="the demo shows it")
    job.wait(timeout=120)
    return job, seen


def watch(job: Job, seen: list[int]) -> Job:
    job.refresh_from_db()
    if job.progress is not None and job.progress not in seen:
        seen.append(job.progress)
    return job


def tell(story: Story, mail: Path, say: Say) -> tuple[Job, int]:
    job, seen = story
    mails = mails_in(mail, job.arguments["subject"])
    for line in story_of(job, seen, mails):
        say(line)
    return job, mails


def expect(story: tuple[Job, int], status: str, mails: range) -> None:
    job, written = story
    if job.status != status:
        raise CommandError(f"Job {job.pk} ended as {job.status}, not as {status}.")
    if written not in mails:
        raise CommandError(f"Job {job.pk} wrote {written} mails, not {mails.start} to {mails.stop - 1}.")
    if [attempt.survivors for attempt in job.attempts.all()] != [0]:
        raise CommandError(f"Job {job.pk} did not end in one attempt that left no process behind.")
