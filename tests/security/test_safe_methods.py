"""GET, HEAD and OPTIONS write nothing: counted in the statements of every URL, for a job in every state."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.admin.support import STATES, a_worker, in_state, stored
from tests.security.people import a_schedule, told
from tests.security.walk import paths

pytestmark = [pytest.mark.django_db, pytest.mark.once]

WRITES = re.compile(
    r"^\s*(INSERT|UPDATE|DELETE|REPLACE|MERGE|CREATE|DROP|ALTER|WITH\b.*\b(INSERT|UPDATE|DELETE))", re.I | re.S
)
QUERIES = ("", "?tab=failed", "?q=1", "?job=tests.greet", "?from=1&subject=x&when=now", "?level=40&rows=errors&page=2")


def writes(client, method: str, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        answer = client.generic(method, url)
        if answer.streaming:
            list(answer.streaming_content)
    return [f"{method} {url}: {query['sql'][:200]}" for query in captured if WRITES.match(query["sql"])]


def test_a_write_would_be_seen(types, visitor):
    job = in_state(types["open"], "new")
    url = next(path for path in paths(job) if path.endswith("/cancel/") and "/job/" in path)
    with CaptureQueriesContext(connection) as captured:
        visitor.post(url, {"confirmed": "1"})
    assert any(WRITES.match(query["sql"]) for query in captured)


def looked_at(visitor, urls) -> list[str]:
    """What is written while each of these is looked at in every way."""
    found = []
    for url in urls:
        for query in QUERIES:
            found += writes(visitor, "GET", url + query)
        found += writes(visitor, "HEAD", url) + writes(visitor, "OPTIONS", url)
    return found


def of_a_job(url: str, job) -> bool:
    return f"/job/{job.pk}/" in url


@pytest.mark.parametrize("state", STATES)
def test_looking_at_a_job_writes_nothing(types, visitor, state):
    job = in_state(types["greet"], state, arguments=stored(types["greet"], subject="Tea"))
    told(job)
    urls = [url for url in paths(job) if of_a_job(url, job)]
    assert urls
    assert looked_at(visitor, urls) == []


def test_looking_at_any_other_page_writes_nothing(types, visitor):
    jobs = [in_state(types["greet"], state, arguments=stored(types["greet"], subject="Tea")) for state in STATES]
    worker, schedule = a_worker(), a_schedule(jobs[0])
    urls = {url for url in paths(jobs[0], name=jobs[0].name) if not of_a_job(url, jobs[0])}
    urls |= {url for url in paths(worker, name=jobs[0].name) if "/worker/" in url}
    urls |= {url for url in paths(schedule, name=jobs[0].name) if "/schedule/" in url}
    assert urls
    assert looked_at(visitor, urls) == []
