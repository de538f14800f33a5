"""The log on a job's page: which lines, with what beside them, and how one gets to the others."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.utils import timezone

from qorworker.admin.jobs.ansi import line_html
from qorworker.models import Attempt, Job, LogLine, Outcome
from qorworker.queries import job_details
from tests.admin.support import XSS, make_job, page_of, text_of, user_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(types):
    """Running, in its second attempt, with 12 lines: the first six of the first attempt, an error every fourth."""
    now = timezone.now().replace(microsecond=0)
    starts = {1: now - dt.timedelta(hours=2), 2: now - dt.timedelta(seconds=90)}
    job = make_job(types["open"], "running", attempt=2, max_attempts=3, last_attempted_at=starts[2], log_lines=12)
    Attempt.objects.create(
        job=job, number=1, started_at=starts[1], finished_at=starts[1] + dt.timedelta(hours=1), outcome=Outcome.FAILED
    )
    LogLine.objects.bulk_create(
        LogLine(
            job=job,
            number=number,
            attempt=attempt,
            at=starts[attempt] + dt.timedelta(seconds=5 * number),
            level=40 if number % 4 == 0 else 20,
            text=f"Row {number} of Berlin" if number % 3 else f"row {number} is 50% done_",
        )
        for number in range(1, 13)
        for attempt in [1 if number <= 6 else 2]
    )
    return job


def lines_of(page):
    return [int(number) for number in re.findall(r'<div id="L(\d+)"', page)]


def shown(client, job, query=""):
    return lines_of(text_of(client.get(page_of(job) + query)))


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", range(1, 13)),
        ("?level=40", [4, 8, 12]),
        ("?attempt=1", range(1, 7)),
        ("?attempt=2&level=40", [8, 12]),
        ("?attempt=9", range(1, 13)),  # there is none
        ("?find=row", range(1, 13)),  # in any case
        ("?find=50%25", [3, 6, 9, 12]),  # as text, not as a pattern
        ("?find=e_", [3, 6, 9, 12]),
        ("?find=berlin&level=40", [4, 8]),
        ("?find=nowhere", []),
        ("?find=%00", range(1, 13)),
        ("?before=4", [1, 2, 3]),
        ("?before=x&level=7&times=never", range(1, 13)),
    ],
)
def test_lines_are_chosen_over_the_whole_log(visitor, job, query, numbers):
    assert shown(visitor, job, query) == list(numbers)


@pytest.mark.parametrize(
    ("query", "numbers"), [("level=40", [12]), ("find=done_", [12]), ("attempt=1", []), ("", [11, 12])]
)
def test_new_lines_are_chosen_like_those_on_the_page(visitor, job, query, numbers):
    news = visitor.get(f"{page_of(job, 'live/')}?after=10&{query}").json()
    assert lines_of(news["append"].get("lines", "")) == numbers
    assert news["state"]["after"] == 12


def test_a_search_without_a_match_says_for_what_beside_the_number_of_lines_there_are(visitor, job):
    page = text_of(visitor.get(page_of(job) + "?find=nowhere"))
    assert "No line contains “nowhere”." in page
    assert "Nothing was logged" not in page


def test_a_match_is_marked_and_leads_to_its_place_among_the_others(visitor, job):
    page = text_of(visitor.get(page_of(job) + "?find=row+8&level=40"))
    assert "<mark>Row 8</mark> of Berlin" in page
    href = re.search(r'<div id="L8"[^>]*><a href="([^"]+)"', page)[1].replace("&amp;", "&")
    assert href.endswith("#L8")
    assert set(shown(visitor, job, href.split("#")[0])) == set(range(1, 13))


def test_every_line_has_an_anchor(visitor, job):
    assert '<div id="L7" data-level="info"><a href="#L7">7</a>' in text_of(visitor.get(page_of(job)))


@pytest.mark.parametrize(
    ("times", "pattern"), [("clock", r"<i>\d\d:\d\d:\d\d</i>"), ("start", r"<i>\+[\d:]+</i>"), ("off", None)]
)
def test_times_are_of_the_day_or_since_the_start_or_none(visitor, job, times, pattern):
    page = text_of(visitor.get(f"{page_of(job)}?times={times}"))
    assert len(re.findall(pattern or r"<i>", page)) == (12 if pattern else 0)


def test_since_the_start_is_since_the_start_of_the_lines_own_attempt(visitor, job):
    page = text_of(visitor.get(f"{page_of(job)}?times=start"))
    assert re.findall(r"<i>(.+?)</i>", page)[:1] == ["+0:05"]
    assert re.findall(r"<i>(.+?)</i>", page)[-1:] == ["+1:00"]
    news = visitor.get(f"{page_of(job, 'live/')}?after=11&times=start").json()
    assert "+1:00" in news["append"]["lines"]


def test_a_long_log_shows_its_end_and_the_way_to_the_rest(visitor, job, monkeypatch):
    monkeypatch.setattr(job_details, "LOG_LINES", 5)
    page = text_of(visitor.get(page_of(job)))
    assert lines_of(page) == [8, 9, 10, 11, 12]
    assert "7 earlier lines – show" in page
    earlier = re.search(r'href="([^"]+)" id="qw-earlier"', page)[1]
    page = text_of(visitor.get(page_of(job) + earlier.split("#")[0]))
    assert lines_of(page) == [3, 4, 5, 6, 7]
    assert "Show the newest lines" in page
    assert "data-qw-live" not in page  # nothing new would fit behind these
    monkeypatch.setattr(job_details, "LOG_LINES", 11)
    assert "1 earlier line – show" in text_of(visitor.get(page_of(job)))


def test_what_is_chosen_in_the_results_stays_when_the_log_is_searched(visitor, job):
    page = text_of(visitor.get(page_of(job) + "?rows=errors&sort=2&level=40&nonsense=1"))
    form = page.split('action="#log"')[1].split("</form>")[0]
    assert re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)"', form) == [("rows", "errors"), ("sort", "2")]


def test_attempts_can_be_chosen_only_where_there_are_several(types, visitor, job):
    assert 'name="attempt"' in text_of(visitor.get(page_of(job)))
    once = make_job(types["open"], "done", log_lines=1)
    assert 'name="attempt"' not in text_of(visitor.get(page_of(once)))


def test_lines_that_were_dropped_are_told_also_while_it_runs(visitor, job):
    assert "Log limit reached" not in text_of(visitor.get(page_of(job)))
    Job.objects.filter(pk=job.pk).update(log_dropped=12_000)
    assert "Log limit reached: 12000 further lines were dropped." in text_of(visitor.get(page_of(job))).replace(",", "")
    assert "Log limit reached" in visitor.get(page_of(job, "live/")).json()["parts"]["dropped"]


def test_without_the_right_to_the_log_no_line_and_no_tool_is_there(client, job):
    client.force_login(user_with("qorworker.view_job"))
    Job.objects.filter(pk=job.pk).update(log_dropped=5)
    page = text_of(client.get(page_of(job) + "?find=row"))
    assert lines_of(page) == []
    assert 'name="find"' not in page
    news = client.get(page_of(job, "live/")).json()
    assert (news["append"], news["state"]["after"]) == ({}, 0)
    assert news["parts"].keys().isdisjoint({"dropped", "log-count"})


# Lines as HTML


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain", "plain"),
        ("a \x1b[31mred\x1b[0m b", 'a <em data-ansi="31">red</em> b'),
        ("\x1b[1;32mok", '<em data-ansi="32">ok</em>'),
        ("\x1b[91mbright", '<em data-ansi="31">bright</em>'),
        ("\x1b[34mblue\x1b[39m back", '<em data-ansi="34">blue</em> back'),
        ("\x1b[33m\x1b[m none", " none"),
        ("\x1b[2Jcleared", "\\u001b[2Jcleared"),
        ("\x1b[31m<b>", '<em data-ansi="31">&lt;b&gt;</em>'),
    ],
)
def test_colours_of_a_terminal_become_attributes_and_nothing_else_gets_through(text, html):
    assert line_html(text) == html


@pytest.mark.parametrize(
    ("text", "find", "html"),
    [
        ("a.b aXb", "a.b", "<mark>a.b</mark> aXb"),
        (XSS, "<script>", "<mark>&lt;script&gt;</mark>alert(&#x27;x&#x27;)&lt;/script&gt;"),
        ("Grün und GRÜN", "grün", "<mark>Grün</mark> und <mark>GRÜN</mark>"),
    ],
)
def test_what_was_looked_for_is_marked_as_text(text, find, html):
    assert line_html(text, find) == html
