"""What a run form starts with, and that what is submitted is what stands in its fields."""

from __future__ import annotations

import datetime as dt
import json
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qorworker.models import Job, Preset
from tests.admin import every_kind
from tests.admin.filled_in import filled_in
from tests.admin.support import BASE, make_job, stored, superuser, text_of, user_with
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]

GREET = BASE + "run/tests.greet/"
EVERYTHING = BASE + "run/tests.everything/"


@pytest.fixture
def everything(types):
    return every_kind.declare()


@pytest.fixture
def shops(db):
    return [Shop.objects.create(name=name) for name in ("Berlin", "Lisbon", "Tartu")]


def submitted(client, url, **changes):
    """The arguments of the job that comes of the form at *url*, sent as it is shown but for *changes*."""
    before = set(Job.objects.values_list("pk", flat=True))
    data = {**filled_in(client.get(url)), **changes}
    response = client.post(url.partition("?")[0], data)
    assert response.status_code == 302, response.context["forms"][0].errors.as_json()
    return Job.objects.exclude(pk__in=before).get().arguments


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_form_filled_from_a_job_or_from_saved_arguments_makes_the_same_job(data, everything, visitor, root, shops):
    arguments = stored(everything, **data.draw(every_kind.values(shops)))
    job = make_job(everything, "done", arguments=arguments)
    kept = {name: value for name, value in arguments.items() if name != "password"}
    preset, _ = Preset.objects.update_or_create(
        job_name=everything.name, owner=root, name="x", defaults={"arguments": kept, "left_out": ["password"]}
    )
    job.refresh_from_db()  # PostgreSQL gives large floats back as whole numbers
    for url in (f"{EVERYTHING}?from={job.pk}", f"{EVERYTHING}?preset={preset.pk}"):
        assert visitor.get(url).context["filled"].notes == []
        assert submitted(visitor, url) == job.arguments


ADDRESS = {
    "line": "Hello & goodbye",
    "text": "one\ntwo",
    "shop": "1",
    "shops": ["1", "2"],
    "number": "7",
    "share": "0.25",
    "price": "12.50",
    "yes": "no",
    "perhaps": "false",
    "day": "2031-05-06",
    "at": "07:08",
    "begins": "2031-05-06T07:08:09",
    "pause": "1 02:03:04",
    "key": "12345678-1234-5678-1234-567812345678",
    "mode": "rich",
    "season": "summer",
    "level": "3",
    "codes": ["b", "c"],
    "numbers": "4\n5",
    "channels": ["till"],
    "seasons": ["winter", "summer"],
    "options": '{"b": [1, null]}',
}


def test_an_address_can_fill_in_every_field(everything, visitor, shops):
    address = {**ADDRESS, "shop": str(shops[0].pk), "shops": [str(shop.pk) for shop in shops[:2]]}
    url = f"{EVERYTHING}?{urlencode(address, doseq=True)}"
    assert visitor.get(url).context["filled"].notes == []
    typed = {
        **address,
        "shop": shops[0],
        "shops": shops[:2],
        "begins": every_kind.berlin(dt.datetime(2031, 5, 6, 7, 8, 9)),
        "seasons": ["summer", "winter"],
        "options": json.loads(address["options"]),
    }
    assert submitted(visitor, url) == stored(everything, **typed)


@pytest.mark.parametrize(
    ("name", "value"),
    [("shop", "99999"), ("shop", "x"), ("number", "1.5"), ("price", "9999999"), ("yes", "maybe"), ("day", "2031-02-30"),
     ("begins", "soon"), ("key", "7"), ("mode", "loud"), ("season", "spring"), ("numbers", "1\nx"),
     ("channels", "shop"), ("options", "{"), ("line", "a\x00b")],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named_and_left_out(everything, visitor, shops, name, value):
    plain, page = visitor.get(EVERYTHING), visitor.get(f"{EVERYTHING}?{urlencode({name: value})}")
    (note,) = page.context["filled"].notes
    assert "does not fit; it was ignored." in note
    assert {**filled_in(page), "qw-token": "", "csrfmiddlewaretoken": ""} == {
        **filled_in(plain), "qw-token": "", "csrfmiddlewaretoken": "",
    }  # fmt: skip


def test_what_is_changed_after_filling_in_is_what_is_run(types, visitor, root):
    job = make_job(types["greet"], "done", arguments=stored(types["greet"], subject="Old", copies=3, mode="rich"))
    preset = Preset.objects.create(job_name="tests.greet", name="x", owner=root, arguments=job.arguments)
    for start in (f"?from={job.pk}", f"?preset={preset.pk}", "?subject=Old&copies=3&mode=rich"):
        assert submitted(visitor, GREET + start) == {"subject": "Old", "copies": 3, "mode": "rich"}
        made = submitted(visitor, GREET + start, subject="New", copies="4", mode="plain")
        assert made == {"subject": "New", "copies": 4, "mode": "plain"}


def test_the_address_of_a_form_that_is_sent_adds_nothing_to_it(types, visitor):
    data = {**filled_in(visitor.get(GREET)), "subject": "Typed"}
    visitor.post(GREET + "?subject=Linked&copies=9", data)
    assert Job.objects.get().arguments == {"subject": "Typed", "copies": 1, "mode": "plain"}


def test_a_value_in_the_address_wins_over_that_of_the_job(types, visitor):
    job = make_job(types["greet"], "done", arguments=stored(types["greet"], subject="Old", copies=3))
    made = submitted(visitor, f"{GREET}?from={job.pk}&subject=Linked")
    assert made == {"subject": "Linked", "copies": 3, "mode": "plain"}


def test_nothing_is_no_value_not_the_default(everything, visitor, shops):
    arguments = stored(
        everything, line="x", text="y", shop=shops[0], shops=shops[:1], perhaps=None, pause=None, key=None, season=None
    )
    job = make_job(everything, "done", arguments=arguments)
    made = submitted(visitor, f"{EVERYTHING}?from={job.pk}")
    assert [made[name] for name in ("perhaps", "pause", "key", "season")] == [None] * 4


def test_a_row_that_is_gone_is_told_also_if_the_form_is_as_it_was(everything, visitor, shops):
    arguments = stored(everything, line="x", text="y", shop=shops[0], shops=shops[1:])
    job = make_job(everything, "done", arguments=arguments)
    shops[0].delete()
    filled = visitor.get(f"{EVERYTHING}?from={job.pk}").context["filled"]
    assert filled.notes == ["The value of “shop” no longer fits."]
    assert "shop" not in filled.values
    assert filled.values["shops"] == [shop.pk for shop in shops[1:]]


@pytest.mark.parametrize("start", ["?preset=0", "?preset=abc", "?preset=99999999999999999999", "?preset="])
def test_saved_arguments_that_do_not_exist_are_told_and_left_out(types, visitor, start):
    page = visitor.get(GREET + start)
    assert page.context["filled"].notes == ["These saved arguments do not exist; the form shows its defaults."]
    assert filled_in(page)["copies"] == ["1"]


def test_saved_arguments_of_another_type_or_person_are_not_to_be_had(types, client):
    user, other = user_with("qorworker.run_job", name="a"), superuser("other")
    mine = Preset.objects.create(job_name="tests.open", name="x", owner=user, arguments={"subject": "Elsewhere"})
    private = Preset.objects.create(job_name="tests.greet", name="x", owner=other, arguments={"subject": "Private"})
    client.force_login(user)
    for preset in (mine, private):
        page = client.get(f"{GREET}?preset={preset.pk}")
        assert page.context["filled"].values == {}
        assert "Private" not in text_of(page)
        assert "Elsewhere" not in text_of(page)


def test_a_password_of_a_job_or_an_address_is_never_in_the_page(everything, visitor, shops):
    arguments = stored(everything, line="x", text="y", shop=shops[0], shops=shops[:1], password="hunter2")
    job = make_job(everything, "done", arguments=arguments)
    page = visitor.get(f"{EVERYTHING}?from={job.pk}&password=hunter3")
    assert filled_in(page)["password"] == [""]
    assert "hunter" not in text_of(page).replace("password=hunter3", "")
    assert "$secret" not in text_of(page)
