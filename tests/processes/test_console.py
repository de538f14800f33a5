"""What jobs log reaches the standard error of the worker, too, for a project that wants it."""

import json

import pytest

from qorworker.models import LogLine
from tests.support import ended, wait_until
from tests.testapp import jobs

pytestmark = pytest.mark.process


def test_the_handler_of_the_extras_writes_lines_of_jobs_as_json(start, monkeypatch):
    monkeypatch.setenv("QORWORKER_TEST_CONSOLE", "1")
    worker = start()
    job = ended(jobs.story.enqueue())

    def lines():
        found = [json.loads(line) for line in worker.said.splitlines() if line.startswith("{")]
        return [line for line in found if line.get("job_id") == job.pk]

    wait_until(lines, why=lambda: worker.said)
    (line,) = [each for each in lines() if each["logger"] == "somebody.else"]
    assert (line["message"], line["level"], line["job_name"]) == ("logged", "WARNING", job.name)
    assert [each.text for each in LogLine.objects.filter(job=job, text="logged")] == ["logged"]
    assert "printed" not in worker.said
