"""A finished job as a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.utils import timezone

from qorworker.models import Job

SEPARATOR = "-" * 79  # the file e-mail backend writes it after each mail


def mails_in(folder: Path, subject: str) -> int:
    """How many mails with *subject* the file e-mail backend wrote."""
    texts = (path.read_text() for path in folder.glob("*.log"))
    return sum(f"Subject: {subject}\n" in mail for text in texts for mail in text.split(SEPARATOR))


def story_of(job: Job, seen: list[int], mails: int) -> Iterator[str]:
    """Status, progress with the values *seen* while it ran, log, and the number of *mails*."""
    yield f"Job {job.pk}: {job.title}"
    yield f"  status    {job.get_status_display()}"
    if job.error:
        yield f"  error     {job.error}"
    yield f"  progress  {job.progress or 0} %, {job.progress_text}; seen while running: {', '.join(map(str, seen))}"
    for attempt in job.attempts.all():
        yield f"  attempt   {attempt.number}: {attempt.get_outcome_display()}, processes left over: {attempt.survivors}"
    yield f"  mails     {mails}"
    yield f"  log       {job.log_lines} lines"
    for line in job.log.all():
        yield f"    {timezone.localtime(line.at):%H:%M:%S}  {line.text}"
