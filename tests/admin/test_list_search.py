"""What narrows the list: the search language, filters and dates; what one may not see cannot be searched for either."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.utils import timezone

import qorworker
from qorworker import Secret
from qorworker.admin.jobs.search import SearchError, Term, parse
from qorworker.models import Job
from qorworker.queries import job_list
from tests.admin.support import BASE, in_state, make_job, stored, text_of, user_with
from tests.testapp.models import Shop

pytestmark = pytest.mark.django_db


def listed(client, **asked):
    return {job.pk for job in client.get(BASE, asked).context["cl"].result_list}


def told(client, **asked):
    """What is said under the search box."""
    page = text_of(client.get(BASE, asked))
    found = re.search(r'id="qw-search-errors"[^>]*>(.*?)</ul>', page, re.DOTALL)
    return re.findall(r"<li>(.*?)</li>", found[1]) if found else []


# The language


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("import  42", [Term("import"), Term("42")]),
        ('"no such file"', [Term("no such file")]),
        ("type:import queue:mail", [Term("import", "type"), Term("mail", "queue")]),
        ('error:"no such file" x', [Term("no such file", "error"), Term("x")]),
        ("error:KeyError:", [Term("KeyError:", "error")]),
        ("arg.shop:3", [Term("3", "arg", "shop")]),
        ("“a b” user:«Ann B»", [Term("a b"), Term("Ann B", "user")]),
        ('"12:30"', [Term("12:30")]),
        ("it's", [Term("it's")]),
    ],
)
def test_a_search_is_words_and_qualifiers_with_quotation_marks_around_spaces(text, terms):
    assert parse(text) == terms


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('"open', "quotation mark"), ('a"b c"', "quotation mark"), ('"a"b', "quotation mark"),
        ("shop:berlin", "“shop:” is not known"), ("arg.:x", "“arg.:” is not known"), ("arg.a-b:x", "is not known"),
        ("type:", "needs a value"), ('user:""', "needs a value"), ("x" * 501, "longer than 500"),
        ("a " * 21, "more than 20"), ("a\x00b", "a character that texts cannot have"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_told(text, why):
    with pytest.raises(SearchError, match=why):
        parse(text)


@pytest.mark.parametrize("text", ["shop:berlin", '"open', "type:", "status:nothing", "arg.nothing:x", "arg.password:x"])
def test_a_search_that_is_not_understood_lists_everything_and_says_so_and_offers_no_action(types, visitor, text):
    job = in_state(types["log_in"], "done")
    assert listed(visitor, q=text) == {job.pk}
    (message,) = told(visitor, q=text)
    assert message.endswith("Nothing was searched for.")
    assert 'name="action"' not in text_of(visitor.get(BASE, {"q": text}))
    assert 'name="action"' in text_of(visitor.get(BASE))


# What it finds


@pytest.fixture
def jobs(types, root):
    return {
        "open": make_job(types["open"], queue_name="mail", created_by=root),
        "greet": in_state(types["greet"], "exception", error="FileNotFoundError: no such file: 100%_a.csv"),
        "gone": in_state("tests.gone", "cancelled"),
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("door", "open"), ("OPEN door", "open"), ('"open door"', "open"), ('"door open"', ""),
        ("tests.gre", "greet"), ("tests.gone", "gone"), ("gone", ""), ("zzz", ""), ("9" * 30, ""),
        ("FileNotFound", "greet"), ("such", ""), ("greet FileNotFoundError", "greet"), ("door FileNotFoundError", ""),
        ("type:greetings", "greet"), ("type:tests.gone", "gone"), ('type:"send greet"', "greet"),
        ("queue:mail", "open"), ("queue:mai", ""), ("user:root", "open"), ("user:me", "open"), ("user:nobody", ""),
        ("status:queued", "open"), ("status:new", "open"), ("status:FAILED", "greet"), ("status:exception", "greet"),
        ("status:not-in-code", "gone"), ('status:"not in code"', "gone"), ("status:will_retry", ""),
        ('error:"no such"', "greet"), ("error:100%_a", "greet"), ("error:100x", ""), ("error:FILENOT", "greet"),
        ("type:greet status:failed error:csv", "greet"), ("type:greet status:queued", ""),
    ],
)  # fmt: skip
def test_each_part_of_a_search_has_to_fit(jobs, visitor, text, found):
    assert listed(visitor, q=text) == {jobs[name].pk for name in found.split()}
    assert told(visitor, q=text) == []


def test_the_error_of_a_job_that_will_be_tried_again_is_found_too(types, visitor):
    job = in_state(types["open"], "will_retry", error="TimeoutError: no answer")
    assert listed(visitor, q="error:answer", tab="will_retry") == {job.pk}
    assert listed(visitor, q="TimeoutError") == {job.pk}


def test_a_number_with_or_without_its_sign_finds_the_job(jobs, visitor):
    for text in (f"#{jobs['open'].pk}", str(jobs["open"].pk)):
        assert listed(visitor, q=text) == {jobs["open"].pk}


# Arguments


def paint(shop: Shop, colour: str, copies: int = 1, key: Secret[str] = "", careful: bool = False) -> None:
    """Has arguments of several kinds."""


@pytest.fixture
def painted(types):
    job_type = qorworker.job(name="tests.paint")(paint)
    shops = [Shop.objects.create(name=name) for name in ("Berlin", "Rome")]
    made = [("Berlin", "dark red", 1, True), ("Rome", "red", 11, False)]
    return [
        make_job(job_type, arguments=stored(job_type, shop=shop, colour=colour, copies=copies, key="c4n4ry", careful=c))
        for shop, (_name, colour, copies, c) in zip(shops, made, strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("arg.shop:berlin", [0]), ("arg.colour:RED", [0, 1]), ('arg.colour:"dark red"', [0]), ("arg.copies:1", [0]),
        ("arg.copies:11", [1]), ("arg.careful:yes", [0]), ("arg.shop:rome arg.colour:red", [1]),
        ("arg.colour:blue", []),
        ("arg.colour:label", []), ("arg.shop:$model", []), ("arg.shop:rome status:failed", []),
    ],
)  # fmt: skip
def test_arguments_are_found_as_people_see_them(painted, visitor, text, found):
    make_job("tests.open")
    assert listed(visitor, q=text) == {painted[place].pk for place in found}


def test_a_secret_is_never_found_and_its_name_is_as_unknown_as_any(painted, visitor):
    for wanted in ("c4n4ry", "•", "secret", painted[0].arguments["key"]["$secret"][:6]):
        secret, unknown = (told(visitor, q=f"arg.{name}:{wanted}") for name in ("key", "nothing"))
        assert [text.replace("key", "nothing") for text in secret] == unknown != []


def test_a_secret_that_stands_where_no_field_expects_it_is_not_found_either(painted, visitor):
    Job.objects.filter(pk=painted[0].pk).update(arguments={"colour": {"$secret": "c4n4ry"}})
    assert listed(visitor, q="arg.colour:c4n4ry") == set()
    assert listed(visitor, q="arg.colour:•") == set()


def test_only_the_newest_are_read_for_an_argument_and_that_is_said(painted, visitor, monkeypatch):
    monkeypatch.setattr(job_list, "ARGUMENTS_READ", 1)
    assert listed(visitor, q="arg.colour:red") == {painted[1].pk}
    assert "Arguments were searched in the newest 1 of these jobs" in text_of(
        visitor.get(BASE, {"q": "arg.colour:red"})
    )
    monkeypatch.setattr(job_list, "ARGUMENTS_READ", 2)
    assert "Arguments were searched" not in text_of(visitor.get(BASE, {"q": "arg.colour:red"}))


# What one may not see


def test_who_may_not_see_arguments_cannot_search_for_them(painted, client):
    client.force_login(user_with("qorworker.view_job", "qorworker.view_job_log"))
    assert listed(client, q="arg.colour:blue") == {job.pk for job in painted}
    assert "You may not see the arguments of jobs" in told(client, q="arg.colour:blue")[0]


@pytest.mark.parametrize("text", ["error:such", "error:nothing"])
def test_who_may_not_see_the_log_cannot_search_for_errors(jobs, client, text):
    client.force_login(user_with("qorworker.view_job", "qorworker.view_job_arguments"))
    assert len(listed(client, q=text)) == 3
    assert "You may not see the errors of jobs" in told(client, q=text)[0]
    assert listed(client, q="FileNotFoundError") == set()


def test_who_may_see_the_errors_of_one_type_searches_those_only(types, client):
    mine = in_state(types["by_name"], "exception", error="OwnError")
    in_state(types["open"], "exception", error="OwnError")
    client.force_login(user_with("qorworker.view_job", "testapp.change_shop"))
    assert listed(client, q="error:Own") == {mine.pk}
    assert listed(client, q="OwnError") == {mine.pk}


def test_who_may_see_the_arguments_of_one_type_searches_those_only(types, client):
    def ask(word: str) -> None:
        pass

    qorworker.job(name="tests.mine", permission="testapp.change_shop")(ask)
    qorworker.job(name="tests.other")(ask)
    mine, _other = (make_job(name, arguments={"word": "x"}) for name in ("tests.mine", "tests.other"))
    client.force_login(user_with("qorworker.view_job", "testapp.change_shop"))
    assert listed(client, q="arg.word:x") == {mine.pk}


def test_a_type_that_one_may_not_see_does_not_show_in_what_a_word_finds(types, client):
    mine = in_state(types["by_name"], "exception", error="Greetings: nobody is there")
    client.force_login(user_with("testapp.change_shop", name="shopkeeper"))
    assert listed(client, q="Greetings") == {mine.pk}  # a type that is hidden from them is called "Send greetings"


# Filters


def test_the_list_can_be_narrowed_to_a_type_a_group_a_queue_or_a_user(jobs, visitor):
    for asked in ({"job": "tests.open"}, {"group": "Doors"}, {"queue": "mail"}, {"user": "root"}, {"user": "me"}):
        assert listed(visitor, **asked) == {jobs["open"].pk}
    for asked in ({"job": "tests.none"}, {"group": "None"}, {"queue": "none"}, {"user": "none"}):
        assert listed(visitor, **asked) == set()


def test_each_filter_is_told_with_a_link_that_takes_it_away_alone(jobs, visitor):
    page = text_of(visitor.get(BASE, {"job": "tests.open", "queue": "mail", "tab": "queued"}))
    chips = dict(re.findall(r'class="qw-chip">([^<]+) <a href="([^"]+)"', page))
    assert chips == {
        "Type: Open door": "?tab=queued&amp;queue=mail",
        "Queue: mail": "?tab=queued&amp;job=tests.open",
    }


def test_a_type_that_one_may_not_see_is_told_by_the_name_in_the_address_only(types, client):
    client.force_login(user_with("testapp.change_shop", name="shopkeeper"))
    page = text_of(client.get(BASE, {"job": "tests.greet"}))
    assert "Type: tests.greet" in page
    assert "Send greetings" not in page


def test_filters_search_and_tab_stay_together_in_every_link(jobs, visitor):
    page = text_of(visitor.get(BASE, {"q": "door", "queue": "mail", "period": "30"}))
    tabs = re.findall(r'<a href="\?(tab=[^"]+)"', page)
    assert len(tabs) == len(job_list.TABS)
    assert all("q=door&amp;queue=mail&amp;period=30" in tab for tab in tabs)


# Dates


def at(job, **times):
    zone = timezone.get_current_timezone() if timezone.is_aware(timezone.now()) else None
    moments = {name: dt.datetime(*parts, tzinfo=zone) for name, parts in times.items()}
    Job.objects.filter(pk=job.pk).update(**moments)


def test_days_begin_and_end_at_midnight_in_the_time_zone_of_the_project(types, visitor):
    jobs = [make_job(types["open"]) for _ in range(4)]
    for job, parts in zip(
        jobs, [(2026, 3, 28, 23, 59), (2026, 3, 29, 0, 0), (2026, 3, 29, 23, 59), (2026, 3, 30, 0, 0)], strict=True
    ):
        at(job, enqueued_at=parts)
    assert listed(visitor, **{"from": "2026-03-29", "to": "2026-03-29"}) == {jobs[1].pk, jobs[2].pk}
    assert listed(visitor, **{"from": "2026-03-29"}) == {job.pk for job in jobs[1:]}
    assert listed(visitor, to="2026-03-29") == {job.pk for job in jobs[:3]}
    assert "Europe/Berlin" in text_of(visitor.get(BASE))


def test_dates_can_mean_the_end_of_a_job(types, visitor):
    job = in_state(types["open"], "done")
    at(job, enqueued_at=(2026, 1, 1), finished_at=(2026, 1, 5))
    assert listed(visitor, on="finished", **{"from": "2026-01-04"}) == {job.pk}
    assert listed(visitor, **{"from": "2026-01-04"}) == set()


def test_the_usual_periods_are_links(types, visitor):
    now = timezone.now()
    ages = {days: make_job(types["open"], enqueued_at=now - dt.timedelta(days=days)).pk for days in (0, 6, 20, 60)}
    assert listed(visitor, period="today") == {ages[0]}
    assert listed(visitor, period="7") == {ages[0], ages[6]}
    assert listed(visitor, period="30") == {ages[0], ages[6], ages[20]}
    page = text_of(visitor.get(BASE, {"period": "7", "tab": "queued"}))
    assert '<a href="?tab=queued&amp;period=7" aria-current="true">7 days</a>' in page
    assert '<a href="?tab=queued">Any time</a>' in page


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"from": "yesterday"}, "From: “yesterday” is not a date"),
        ({"to": "2026-02-30"}, "To: “2026-02-30” is not a date"),
        ({"to": "9999-12-31"}, "is not a date"), ({"from": "0001-01-01"}, "is not a date"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "“To” is before “From”"), ({"before": "x"}, "is not the number"),
        ({"period": "9"}, "is not one of"), ({"on": "x"}, "is not one of"), ({"tab": "x"}, "is not one of"),
        ({"job": "a\x00b"}, "has a character"), ({"user": "\u202e"}, "has a character"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_understood_is_left_out_and_told_by_name(types, visitor, asked, why):
    job = make_job(types["open"])
    assert listed(visitor, **asked) == {job.pk}
    assert why in told(visitor, **asked)[0]


# Moments, as the links of the dashboard have them


def test_a_link_may_name_moments_instead_of_days(types, visitor):
    now = timezone.now().replace(microsecond=0)
    made = [make_job(types["open"], "done", finished_at=now - dt.timedelta(minutes=m)) for m in (5, 65, 125)]
    limits = [f"{now - dt.timedelta(minutes=m):%Y-%m-%dT%H:%MZ}" for m in (100, 30)]
    assert listed(visitor, on="finished", **{"from": limits[0], "to": limits[1]}) == {made[1].pk}
    assert listed(visitor, on="finished", **{"from": limits[0]}) == {made[0].pk, made[1].pk}
    answer = visitor.get(BASE, {"on": "finished", "from": limits[0], "to": limits[1]})
    (chip,) = [chip["text"] for chip in answer.context["filters"].chips]
    local = timezone.localtime(now - dt.timedelta(minutes=100))
    assert chip.startswith("finished ")
    assert f"{local:%H:%M} to " in chip


@pytest.mark.parametrize("text", ["2026-11-30T10:00", "0001-01-01T00:00Z", "9999-12-31T23:59+00:00", "2026-11-30TZ"])
def test_a_moment_without_a_zone_or_beyond_the_calendar_is_left_out(types, visitor, text):
    job = make_job(types["open"], "done")
    assert listed(visitor, **{"from": text}) == {job.pk}
    assert "is not a date like 2026-12-31" in str(told(visitor, **{"from": text}))
