"""The pages of calendars of days off."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from qorworker import Calendar, Cron, Schedule
from qorworker.admin.calendars import forms
from qorworker.models import Holiday
from qorworker.models.clock import aware
from tests.admin.support import superuser, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]

LIST = reverse("admin:qorworker_calendar_changelist")
ADD = reverse("admin:qorworker_calendar_add")
ICS = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:{}\nSUMMARY:New Year\nEND:VEVENT\nEND:VCALENDAR"


@pytest.fixture
def boss(client):
    client.force_login(superuser())
    return client


@pytest.fixture
def off():
    calendar = Calendar.objects.create(name="off", title="Days off", weekdays="67")
    calendar.add(dt.date(2026, 12, 25), title="Christmas")
    return calendar


def page_of(calendar, page="change"):
    return reverse(f"admin:qorworker_calendar_{page}", args=[calendar.pk])


def days():
    return list(Holiday.objects.order_by("first").values_list("first", "last", "title"))


def test_one_is_made_of_lines_and_a_file(boss):
    file = SimpleUploadedFile("holidays.ics", ICS.format("20270101").encode())
    lines = "2026-12-25 Christmas\n\n2026-12-28..2026-12-31   Works holidays\n2027-02-01 – 2027-02-02\n"
    answer = boss.post(ADD, {"name": "off", "title": "", "weekdays": ["6", "7"], "dates": lines, "ics": file})
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    assert days() == [
        (dt.date(2026, 12, 25), dt.date(2026, 12, 25), "Christmas"),
        (dt.date(2026, 12, 28), dt.date(2026, 12, 31), "Works holidays"),
        (dt.date(2027, 1, 1), dt.date(2027, 1, 1), "New Year"),
        (dt.date(2027, 2, 1), dt.date(2027, 2, 2), ""),
    ]
    assert Calendar.objects.get().weekdays == "67"


def test_its_form_has_its_days_and_saving_it_changes_nothing_else(boss, off):
    form = boss.get(page_of(off)).context["adminform"].form
    assert (form.initial["dates"], form.initial["weekdays"]) == ("2026-12-25 Christmas", ["6", "7"])
    data = {"name": "off", "title": "Days off", "weekdays": ["7"], "dates": form.initial["dates"] + "\n2026-12-26"}
    assert boss.post(page_of(off), data).status_code == 302
    off.refresh_from_db()
    assert (off.name, off.weekdays, len(days())) == ("off", "7", 2)


def test_schedules_follow_what_is_saved(boss, off):
    rule = Cron("0 6 25 12 *", "UTC", calendar="off", on_holiday="before")
    schedule = Schedule.objects.create_for(_noop(), rule)
    year = schedule.next_key[:4]
    boss.post(page_of(off), {"name": "off", "title": "", "dates": f"{year}-12-24\n{year}-12-25"})
    schedule.refresh_from_db()
    assert f"{aware(schedule.next_slot):%Y-%m-%d}" == f"{year}-12-23"


def _noop():
    from tests.testapp import jobs

    return jobs.noop


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ({"dates": "2026-12-25\nChristmas"}, "dates", "Line 2: “Christmas” does not begin with a date"),
        ({"dates": "2026-02-30"}, "dates", "Line 1: “2026-02-30” does not begin with a date"),
        ({"dates": "2026-12-25..2026-12-24"}, "dates", "Line 1: The last day is before the first one."),
        ({"dates": "2026-12-25..2028-12-24"}, "dates", "Line 1: A range has at most 366 days."),
        ({"dates": f"2026-12-25 {'x' * 101}"}, "dates", "Line 1: The name is too long"),
        ({"weekdays": list("1234567")}, "weekdays", "One day of the week has to be a working day."),
        ({"name": "bank holidays"}, "name", "Enter a valid “slug”"),
        ({"ics": SimpleUploadedFile("x.ics", b"\xff\xfe")}, "ics", "not in UTF-8"),
        ({"ics": SimpleUploadedFile("x.ics", ICS.format("soon").encode())}, "ics", "Line 3: “soon” is not a date"),
        ({"ics": SimpleUploadedFile("x.ics", b"x" * 1_000_001)}, "ics", "larger than 1000 kB"),
    ],
)
def test_what_cannot_be_is_refused_with_the_field_and_the_line(boss, data, field, message):
    answer = boss.post(ADD, {"name": "off", "dates": "", **data})
    assert answer.status_code == 200
    assert message in str(answer.context["adminform"].form.errors[field])
    assert not Calendar.objects.exists()


def test_too_many_days_are_refused(boss, monkeypatch):
    monkeypatch.setattr(forms, "MOST_DAYS", 1)
    errors = boss.post(ADD, {"name": "off", "dates": "2026-12-25\n2026-12-26"}).context["adminform"].form.errors
    assert "at most 1" in str(errors["dates"])


def test_the_list_tells_how_many_days_and_schedules_each_has(boss, off, django_assert_max_num_queries):
    Schedule.objects.create_for(_noop(), Cron("0 6 * * *", "UTC", calendar="off"))
    for number in range(5):
        Calendar.objects.create(name=f"other-{number}")
    with django_assert_max_num_queries(20):
        page = text_of(boss.get(LIST))
    assert "Days off" in page
    assert "1 schedule" in page


def test_one_that_schedules_use_is_kept(boss, off):
    schedule = Schedule.objects.create_for(_noop(), Cron("0 6 * * *", "UTC", calendar="off"))
    assert "Days off: 1 schedule" in text_of(boss.get(page_of(off, "delete")))
    assert boss.post(page_of(off, "delete"), {"post": "yes"}).status_code != 302
    assert Calendar.objects.exists()
    schedule.remove()
    assert boss.post(page_of(off, "delete"), {"post": "yes"}).status_code == 302
    assert not Calendar.objects.exists()


@pytest.mark.parametrize(
    ("permission", "may"),
    [
        ("view", {"view"}), ("change", {"view", "change"}), ("add", {"add"}), ("delete", {"delete"}), ("", set()),
    ],
)  # fmt: skip
def test_django_s_permissions_decide(client, off, permission, may):
    client.force_login(user_with(*([f"qorworker.{permission}_calendar"] if permission else [])))
    changed = client.post(page_of(off), {"name": "off", "title": "Changed", "dates": ""})
    found = {
        "view": client.get(page_of(off)).status_code == 200,
        "change": changed.status_code == 302,
        "add": client.post(ADD, {"name": "new", "dates": ""}).status_code == 302,
        "delete": client.get(page_of(off, "delete")).status_code == 200,
    }
    assert {name for name, allowed in found.items() if allowed} == may
    assert Holiday.objects.exists() == ("change" not in may)


def test_who_may_only_look_sees_the_days_and_no_field(client, off):
    client.force_login(user_with("qorworker.view_calendar"))
    page = text_of(client.get(page_of(off)))
    assert "2026-12-25 Christmas" in page
    assert "<textarea" not in page
    assert 'type="file"' not in page


def test_names_are_shown_as_text(boss, off):
    off.add(dt.date(2026, 12, 26), title="<script>alert(1)</script>")
    assert "<script>alert(1)" not in text_of(boss.get(page_of(off)))


def test_the_list_of_schedules_leads_there_for_those_who_may_see_it(client, off):
    client.force_login(user_with("qorworker.view_job"))
    assert LIST not in text_of(client.get(reverse("admin:qorworker_schedule_changelist")))
    client.force_login(user_with("qorworker.view_job", "qorworker.view_calendar", name="other"))
    assert LIST in text_of(client.get(reverse("admin:qorworker_schedule_changelist")))
