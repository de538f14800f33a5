"""The catalogue: who sees which cards, what they tell, how they are narrowed, and what that costs."""

from __future__ import annotations

import datetime as dt
import gzip
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import qorworker
from qorworker.admin.jobs import catalogue as catalogue_view
from qorworker.definitions.registry import registry
from qorworker.models import Job
from qorworker.queries import catalogue
from tests.admin.support import BASE, XSS, a_worker, make_job, page_of, stored, superuser, text_of, user_with
from tests.models.test_limit_plans import read_by

pytestmark = pytest.mark.django_db

CATALOGUE = BASE + "catalogue/"
EVERY_PAGE = 4  # queries: session, user, running jobs, workers


def card_of(page, title):
    """The part of the page that is about one type, tags and all."""
    start = page.index('<li class="qw-card"', page.index("qw-group"))
    cards = [card for card in page[start:].split('<li class="qw-card"') if title in card]
    assert len(cards) == 1
    return cards[0].split("</li>")[0]


def words_of(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def took(seconds, **fields):
    now = timezone.now()
    return {"last_attempted_at": now - dt.timedelta(seconds=seconds), "finished_at": now, **fields}


# Who sees what


def test_cards_are_grouped_with_the_rest_under_other_last(types, visitor):
    page = text_of(visitor.get(CATALOGUE))
    titles = [title.split("<")[0].strip() for title in re.findall(r"<h2>(.+?)</h2>", page)]
    assert titles == ["Doors", "Mail", "Other"]


def test_a_card_tells_the_last_run_and_runs_with_one_click_if_nothing_is_to_be_filled_in(types, visitor):
    make_job(types["open"], "done")
    last = make_job(types["open"], "exception")
    page = text_of(visitor.get(CATALOGUE))
    card = page[page.index("Open door") : page.index("</li>", page.index("Open door"))]
    assert f'href="{page_of(last)}"' in card
    token = re.search(r'name="qw-token" value="([^"]+)"', card)[1]
    response = visitor.post(BASE + "run/tests.open/", {"qw-token": token, "qw-when": "now"})
    new = Job.objects.latest("pk")
    assert response.url == page_of(new)


def test_every_one_click_card_has_a_token_of_its_own(types, visitor):
    tokens = re.findall(r'name="qw-token" value="([^"]+)"', text_of(visitor.get(CATALOGUE)))
    assert len(tokens) == len(set(tokens)) == 3


@pytest.mark.parametrize(
    ("query", "found"),
    [("q=greet", ["Send greetings"]), ("q=has+a+SECRET", ["Log in"]), ("group=Doors", ["Open door"]), ("q=zzz", [])],
)
def test_the_catalogue_can_be_narrowed(types, visitor, query, found):
    page = text_of(visitor.get(f"{CATALOGUE}?{query}"))
    assert re.findall(r"<h3><a [^>]+>([^<]+)</a>", page) == found


def test_a_type_one_may_not_run_says_so_and_one_may_neither_see_is_missing(types, client):
    client.force_login(user_with("qorworker.view_job", name="a"))
    assert text_of(client.get(CATALOGUE)).count("You may view it, but not run it.") == 7
    client.force_login(user_with("qorworker.run_job", name="b"))
    page = text_of(client.get(CATALOGUE))
    assert "By name" not in page
    assert "Open door" in page
    assert "You may run it, but not see its runs." in page


def test_the_only_type_there_is_opens_at_once(types, visitor):
    for name in registry.names():
        if name != "tests.greet":
            registry.unregister(name)
    assert visitor.get(CATALOGUE).url == BASE + "run/tests.greet/"


def test_a_link_can_lead_to_the_form_of_a_type(types, visitor):
    assert visitor.get(CATALOGUE + "?job=tests.greet").url == BASE + "run/tests.greet/"


def test_a_type_whose_definition_is_broken_says_so_and_hides_no_other(types, visitor):
    qorworker.job(name="tests.broken", title="Broken")(lambda untyped: None)
    page = text_of(visitor.get(CATALOGUE))
    assert "Its definition has an error" in page
    assert "Open door" in page
    assert visitor.get(BASE + "run/tests.broken/").url == CATALOGUE


def test_without_any_type_the_catalogue_shows_how_to_write_one(types, visitor):
    for name in registry.names():
        registry.unregister(name)
    page = text_of(visitor.get(CATALOGUE))
    assert "No job types are registered" in page
    assert "from qorworker import job" in page


def test_what_one_may_not_use_is_named_only_if_the_project_wants_that(types, client, settings):
    client.force_login(user_with("qorworker.run_job"))
    assert "By name" not in text_of(client.get(CATALOGUE))
    settings.QORWORKER = {**settings.QORWORKER, "SHOW_UNAVAILABLE": True}
    page = text_of(client.get(CATALOGUE))
    assert "Not available to you (2)" in page
    assert "<li>By name</li>" in page
    assert "run/tests.by_name/" not in page
    assert "Not available" not in text_of(client.get(CATALOGUE + "?q=door"))


def test_types_that_left_the_code_keep_their_history(types, visitor, client):
    gone = make_job("tests.gone", "done")
    page = text_of(visitor.get(CATALOGUE))
    section = page[page.index("Removed from code") :]
    assert "<code>tests.gone</code>" in section
    assert f'href="{page_of(gone)}"' in section
    assert f'href="{BASE}?job=tests.gone"' in section
    assert "run/tests.gone/" not in page


def test_types_that_left_the_code_are_hidden_from_who_sees_only_some_types(types, client):
    make_job("tests.gone", "done")
    client.force_login(user_with("qorworker.run_job", "testapp.change_shop"))
    assert "tests.gone" not in text_of(client.get(CATALOGUE))


# What a card tells


def test_a_card_tells_what_is_usual_what_comes_next_and_what_runs(types, visitor):
    for seconds in (10, 20, 70):
        make_job(types["greet"], "done", **took(seconds))
    make_job(types["greet"], "exception", **took(5000))
    make_job(types["greet"], "scheduled")
    first = make_job(types["greet"], "running", progress=42)
    newest = make_job(types["greet"], "running", progress=7)
    card = card_of(text_of(visitor.get(CATALOGUE)), "Send greetings")
    words = words_of(card)
    assert "usually 20 s · next t" in words  # today or tomorrow, by the hour of the test
    assert "Running 7 % started" in words
    assert "2 are running" in words
    assert f'href="{page_of(newest)}"' in card
    assert f'href="{page_of(first)}"' not in card


def test_the_last_run_stands_beside_the_running_one_only_if_it_is_newer(types, visitor):
    make_job(types["greet"], "running")
    assert "Not run yet" not in card_of(text_of(visitor.get(CATALOGUE)), "Send greetings")
    failed = make_job(types["greet"], "exception")
    words = words_of(card := card_of(text_of(visitor.get(CATALOGUE)), "Send greetings"))
    assert "Running" in words
    assert "Failed" in words
    assert f'href="{page_of(failed)}"' in card


def test_an_attempt_that_follows_a_failure_is_no_next_run(types, visitor):
    make_job(types["greet"], "scheduled", attempt=1)
    assert "next" not in words_of(card_of(text_of(visitor.get(CATALOGUE)), "Send greetings"))


def test_runs_are_not_told_of_to_who_may_only_start_them(types, client):
    make_job(types["greet"], "running")
    make_job(types["greet"], "done", **took(20))
    make_job(types["greet"], "scheduled")
    client.force_login(user_with("qorworker.run_job"))
    words = words_of(card_of(text_of(client.get(CATALOGUE)), "Send greetings"))
    assert "You may run it, but not see its runs." in words
    assert not {"Running", "usually", "next", "Done"} & set(words.split())


def test_run_again_opens_the_form_with_ones_own_last_arguments(types, visitor, root):
    mine = make_job(types["greet"], "done", arguments=stored(types["greet"], subject="Mine"), created_by=root)
    other = stored(types["greet"], subject="Other")
    make_job(types["greet"], "done", arguments=other, created_by=superuser("other"))
    card = card_of(text_of(visitor.get(CATALOGUE)), "Send greetings")
    link = re.search(r'href="([^"]+from=\d+)"', card)[1]
    assert link.endswith(f"?from={mine.pk}")
    assert 'value="Mine"' in text_of(visitor.get(link))


def test_there_is_no_run_again_without_own_runs_without_arguments_or_without_the_right_to_see_them(types, client):
    user = user_with("qorworker.run_job", "qorworker.view_job")
    make_job(types["greet"], "done", arguments=stored(types["greet"], subject="Mine"), created_by=user)
    make_job(types["open"], "done", created_by=user)
    client.force_login(user)
    assert "Run again" not in text_of(client.get(CATALOGUE))
    client.force_login(superuser())
    assert "Run again" not in text_of(client.get(CATALOGUE))


def test_what_one_used_last_stands_first_where_there_are_many(types, visitor, root):
    for name in ("tests.greet", "tests.open", "tests.greet", "tests.gone"):
        make_job(name, "done", created_by=root)
    make_job("tests.upload", "done", created_by=superuser("other"))
    page = text_of(visitor.get(CATALOGUE))
    recent = page[page.index("Recently used by you") : page.index("</nav>", page.index("Recently used by you"))]
    assert re.findall(r"<a [^>]+>([^<]+)</a>", recent) == ["Send greetings", "Open door"]
    registry.unregister("tests.asks")
    assert "Recently used by you" not in text_of(visitor.get(CATALOGUE))


def test_descriptions_are_text(types, visitor):
    qorworker.job(name="tests.xss", title=XSS, group=XSS)(named_like_markup)
    for view in ("cards", "table"):
        page = text_of(visitor.get(f"{CATALOGUE}?view={view}"))
        assert XSS not in page
        assert "&lt;script&gt;" in page


def named_like_markup() -> None:
    """<script>alert('x')</script>"""


# As a table


def test_the_table_shows_the_same_and_is_remembered(types, visitor):
    last = make_job(types["open"], "done", **took(20))
    page = text_of(visitor.get(CATALOGUE + "?view=table"))
    assert '<table class="qw-types">' in page
    row = page[page.index('<tr data-qw-text="open door') :].split("</tr>")[0]
    assert f'href="{page_of(last)}"' in row
    assert "usually 20 s" in words_of(row)
    token = re.search(r'name="qw-token" value="([^"]+)"', row)[1]
    assert '<table class="qw-types">' in text_of(visitor.get(CATALOGUE))
    visitor.post(BASE + "run/tests.open/", {"qw-token": token, "qw-when": "now"})
    assert Job.objects.count() == 2
    assert '<ul class="qw-cards">' in text_of(visitor.get(CATALOGUE + "?view=cards"))
    assert '<ul class="qw-cards">' in text_of(visitor.get(CATALOGUE))


def test_a_view_that_does_not_exist_is_neither_shown_nor_remembered(types, visitor):
    response = visitor.get(CATALOGUE + "?view=" + XSS)
    assert '<ul class="qw-cards">' in text_of(response)
    assert catalogue_view.COOKIE not in response.cookies


def test_changing_the_view_keeps_what_was_searched_for(types, visitor):
    page = text_of(visitor.get(CATALOGUE + "?q=door"))
    assert 'href="?q=door&amp;view=table"' in page


# Queries and sizes


def hundred_types(user):
    for number in range(100):
        name = f"tests.many{number}"
        qorworker.job(name=name, group=f"Group {number % 7}")(described)
        for status in ("done", "exception", "running", "scheduled"):
            make_job(name, status, created_by=user)


def described(subject: str = "") -> None:
    """Does what its description says in a sentence or two, as people write them above the functions of their project.

    And then says more.
    """


def test_a_hundred_types_take_six_queries_beside_those_of_every_page(types, visitor, root):
    hundred_types(root)
    a_worker()
    with CaptureQueriesContext(connection) as captured:
        visitor.get(CATALOGUE)
    for_each = 100 if connection.vendor == "mysql" else 0  # the newest job of each type
    assert len(captured) <= 6 + for_each + EVERY_PAGE, [query["sql"][:200] for query in captured]


def test_the_newest_of_each_name_is_found_without_reading_the_others():
    now = timezone.now()
    Job.objects.bulk_create(
        Job(name=f"tests.many{number % 5}", run_after=now, enqueued_at=now) for number in range(2000)
    )
    assert read_by(lambda: catalogue.newest_of_each_name(Job.objects.all())) < 1000


@pytest.mark.parametrize("view", ["cards", "table"])
def test_a_hundred_types_take_forty_kilobytes_at_most(types, visitor, root, view):
    hundred_types(root)
    body = visitor.get(f"{CATALOGUE}?view={view}").content
    assert body.count(b"Run again") == 100
    assert len(gzip.compress(body, 6)) <= 40 * 1024


def test_what_is_usual_is_the_median_of_the_last_successes(types, monkeypatch):
    monkeypatch.setattr(catalogue, "SAMPLE", 3)
    monkeypatch.setattr(catalogue, "LOOKED_AT", 5)
    for seconds in (1000, 9, 3, 6, 1):
        make_job(types["greet"], "done", **took(seconds))
    make_job(types["greet"], "exception", **took(500))
    names = ["tests.greet", "tests.open"]
    usual = catalogue.usual_durations(Job.objects.all(), names)
    assert list(usual) == ["tests.greet"]
    assert usual["tests.greet"].total_seconds() == pytest.approx(3, abs=0.001)


def test_the_newest_of_each_name_is_found_whatever_the_names_are(types):
    first = make_job("a", "done")
    jobs = [first, make_job("a", "done"), make_job("tests.open", "running"), make_job("zz", "new")]
    found = catalogue.newest_of_each_name(Job.objects.all())
    assert {name: job.pk for name, job in found.items()} == {job.name: job.pk for job in jobs[1:]}


def test_there_is_nothing_to_tell_of_an_empty_table(types, root):
    jobs = Job.objects.all()
    assert catalogue.newest_of_each_name(jobs) == catalogue.running_by_name(jobs) == {}
    assert catalogue.usual_durations(jobs, []) == catalogue.usual_durations(jobs, ["tests.open"]) == {}
    assert catalogue.next_starts(jobs) == catalogue.last_of_user(jobs, root) == {}
