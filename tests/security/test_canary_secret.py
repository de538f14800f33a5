"""A secret goes through the form, a real worker and a job that keeps it badly: then it is looked for everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.apps import apps
from django.core import mail
from django.test import Client

from qorworker.admin.jobs.update import revision_of
from qorworker.models import Job
from tests.admin.support import BASE, page_of, superuser, text_of
from tests.fixtures import open_database, start, transactional_db
from tests.security.walk import paths
from tests.support import all_ended, log_of
from tests.testapp import jobs

__all__ = ["open_database", "start", "transactional_db"]

pytestmark = [pytest.mark.process, pytest.mark.once]

CANARY = "c4n4ry-s3cr3t-v4lu3"
RUN = BASE + "run/testapp.keeps_secrets_badly/"
WAYS = (
    "log", "print", "stderr", "logging", "progress", "results", "subprocess", "descriptor", "halves", "representation",
    "",
)  # fmt: skip


def test_a_secret_is_nowhere_but_in_the_job(start, tmp_path, settings):
    settings.MEDIA_ROOT = str(tmp_path / "media")
    visitor = Client()
    visitor.force_login(superuser())
    for place, way in enumerate(WAYS):
        token = f"0.{'x' * 20}{place}"
        form = {"qw-token": token, "qw-when": "now", "password": CANARY, "how": way or "error"}
        assert visitor.post(RUN, {**form, "how": ""}).status_code == 200  # the page with the error
        assert visitor.post(RUN, form).status_code == 302
    first = Job.objects.earliest("pk")
    changed = {**form, "how": WAYS[0], "qw-when": "keep", "qw-revision": revision_of(first)}
    assert visitor.post(page_of(first, "update/"), {**changed, "how": ""}).status_code == 200
    assert visitor.post(page_of(first, "update/"), changed).status_code == 302
    worker = start(processes=2)
    all_ended()
    stored = list(Job.objects.order_by("pk"))
    assert [job.status for job in stored] == ["exception"] * len(WAYS)

    found = [f"{path} {pid}" for pid in worker.census() for path in ("cmdline", "environ") if CANARY in of(pid, path)]
    assert worker.stop() == 0
    assert found == []
    assert CANARY not in worker.said
    assert CANARY not in dump()
    assert not any(CANARY.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert not any(CANARY in str(message.message()) for message in mail.outbox)
    for job in stored:
        for url in (*paths(job), f"{RUN}?from={job.pk}", f"{RUN}?password={CANARY[:6]}"):
            assert CANARY not in text_of(visitor.get(url)), url
    for query in (f"?q={CANARY[:6]}", "?tab=failed"):
        assert CANARY not in text_of(visitor.get(BASE + query))
    # The job had it, and what it told of it is there without it.
    assert "log ••••••" in text_of(visitor.get(page_of(stored[0])))
    assert text_of(visitor.get(page_of(stored[0]))).count("refused: ••••••") >= 1
    halves = text_of(visitor.get(page_of(stored[WAYS.index("halves")], "log.txt")))
    assert "halves ••••••" in halves
    assert "and ••••••" in halves


def of(pid: int, path: str) -> str:
    try:
        return Path(f"/proc/{pid}/{path}").read_text(errors="replace")
    except OSError:
        return ""


def dump() -> str:
    """Every column of every row of every table."""
    return "\n".join(str(row) for model in apps.get_models(include_auto_created=True) for row in model.objects.values())


def test_what_a_library_printed_comes_with_its_own_job(start):
    """In the log of a later job it would be shown to other users, and not masked."""
    jobs.keeps_secrets_badly.enqueue(password=CANARY, how="library")
    later = jobs.empties_the_buffers_of_libraries.enqueue()
    worker = start(processes=1, variables={"PYTHONUNBUFFERED": ""})
    all_ended()
    assert worker.stop() == 0
    assert log_of(Job.objects.earliest("pk")) == ["library ••••••"]
    assert log_of(later) == []
