"""The page on which a job that waits is changed: what it shows, what it keeps, what it stores, and for whom."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest
from django import forms
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from qorworker import Unique, job
from qorworker.admin.jobs.verb_texts import clock
from qorworker.exceptions import NoLongerAllowed
from qorworker.execution import recheck
from qorworker.models import AuditEntry, Job
from qorworker.models.sql import claim_one
from qorworker.text.masking import MASK
from tests.admin import every_kind
from tests.admin.filled_in import filled_in
from tests.admin.support import (
    BASE,
    STATES,
    in_state,
    make_job,
    messages_of,
    page_of,
    stored,
    stored_by,
    superuser,
    text_of,
    user_with,
)
from tests.models.rows import wanted
from tests.testapp.admin import ShopAdmin
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]

WAITING = ("new", "scheduled", "will_retry", "paused")
RIGHTS = ("qorworker.view_job", "qorworker.reschedule_job", "qorworker.run_job", "qorworker.view_job_arguments")
LATER = {"qw-when": "later", "qw-at_0": "2999-01-01", "qw-at_1": "09:00"}


@pytest.fixture
def tea(types):
    return in_state(types["greet"], "scheduled", arguments=stored(types["greet"], subject="Tea", copies=2))


def form_of(client, job):
    return filled_in(client.get(page_of(job, "update/")))


def save(client, job, form=None, **changes):
    """Send the form as it is shown but for *changes*."""
    return client.post(page_of(job, "update/"), {**(form or form_of(client, job)), **changes}, follow=True)


def row(job):
    return Job.objects.filter(pk=job.pk).values().get()


def changed(before, job):
    return {name for name, value in row(job).items() if value != before[name]}


def start(job):
    assert claim_one("default", job.pk, wanted(names=[job.name])) is not None


class TestForm:
    def test_it_is_the_form_of_the_type_with_what_the_job_has(self, visitor, tea):
        page = visitor.get(page_of(tea, "update/"))
        assert page.status_code == 200
        assert f"Change “Send greetings #{tea.pk}”" in text_of(page)
        form = filled_in(page)
        assert (form["subject"], form["copies"], form["mode"], form["qw-when"]) == (["Tea"], ["2"], ["plain"], ["keep"])

    def test_sent_as_it_is_it_changes_nothing(self, visitor, root, types):
        everything = every_kind.declare()
        shops = [Shop.objects.create(name=name) for name in ("Berlin", "Lisbon")]
        arguments = stored(everything, line="x", text="y\nz", shop=shops[0], shops=shops, password="hunter2")
        made = make_job(everything, "scheduled", arguments=arguments, created_by=root)
        before = row(made)
        assert messages_of(save(visitor, made)) == [f"“{made.title} #{made.pk}” was saved."]
        assert changed(before, made) <= {"form_tokens"}

    def test_saved_it_has_what_was_typed_in_the_name_of_who_did_it(self, visitor, tea):
        before = row(tea)
        response = save(visitor, tea, subject="Coffee", mode="rich")
        assert response.redirect_chain == [(page_of(tea), 302)]
        assert changed(before, tea) == {"arguments", "form_tokens"}
        assert row(tea)["arguments"] == {"subject": "Coffee", "copies": 2, "mode": "rich"}
        entry = AuditEntry.objects.get()
        assert (entry.action, entry.outcome, entry.user_name, entry.origin) == ("update", "ok", "root", "admin")
        assert (entry.details, entry.address) == ({"arguments": ["mode", "subject"]}, "127.0.0.1")
        assert "root changed it: mode, subject" in re.sub("<[^>]+>", "", text_of(response))

    def test_another_time_comes_with_it(self, visitor, tea):
        save(visitor, tea, subject="Coffee", **LATER)
        after = row(tea)
        assert (after["status"], after["run_after"].year, after["arguments"]["subject"]) == (
            "scheduled",
            2999,
            "Coffee",
        )
        assert AuditEntry.objects.count() == 1

    def test_a_near_time_starts_it_at_once_and_says_so(self, visitor, tea):
        response = save(visitor, tea, **{**LATER, "qw-at_0": "2001-01-01"})
        assert row(tea)["status"] == "new"
        assert "starts at once" in messages_of(response)[0]

    def test_a_near_time_leaves_a_queued_job_its_place(self, visitor, types):
        made = in_state(types["greet"], "new", arguments=stored(types["greet"], subject="Tea"))
        before = row(made)
        save(visitor, made, subject="Coffee", **{**LATER, "qw-at_0": "2001-01-01"})
        assert changed(before, made) == {"arguments", "form_tokens"}

    def test_a_queued_job_can_be_moved_to_later(self, visitor, types):
        made = in_state(types["greet"], "new", arguments=stored(types["greet"], subject="Tea"))
        save(visitor, made, **LATER)
        assert row(made)["status"] == "scheduled"

    def test_a_time_that_is_not_chosen_is_asked_for(self, visitor, tea):
        before = row(tea)
        response = save(visitor, tea, **{**LATER, "qw-at_0": "", "qw-at_1": ""})
        assert "Choose a date and a time, or leave it as it is." in text_of(response)
        assert row(tea) == before

    def test_a_type_without_times_asks_for_none_and_takes_none(self, visitor, root, types):
        given = stored_by(root, types["log_in"], password="opensesame")
        made = in_state(types["log_in"], "scheduled", arguments=given, created_by=root)
        assert "qw-when" not in form_of(visitor, made)
        before = row(made)
        save(visitor, made, user_name="anna", **LATER)
        assert changed(before, made) == {"arguments", "form_tokens"}

    def test_errors_are_told_and_nothing_changes(self, visitor, tea):
        before = row(tea)
        response = save(visitor, tea, subject="", copies="many")
        page = text_of(response)
        assert "Nothing was saved. Please correct the following:" in page
        assert "Enter a whole number." in page
        assert 'value="many"' in page
        assert row(tea) == before
        assert not AuditEntry.objects.exists()

    def test_a_form_without_its_token_is_asked_for_once_more(self, visitor, tea):
        before = row(tea)
        response = save(visitor, tea, **{"qw-token": "", "subject": "Coffee"})
        assert "The form was not complete." in text_of(response)
        assert row(tea) == before
        assert save(visitor, tea, filled_in(response)).redirect_chain
        assert row(tea)["arguments"]["subject"] == "Coffee"

    def test_a_type_that_asks_first_asks_here_too(self, visitor, types):
        @job(name="tests.wipe", confirm="All of it will be deleted.")
        def wipe(shop: str):
            pass

        made = make_job(wipe, "scheduled", arguments={"shop": "Berlin"})
        assert "All of it will be deleted." in text_of(visitor.get(page_of(made, "update/")))
        assert not save(visitor, made, shop="Lisbon").redirect_chain
        assert row(made)["arguments"] == {"shop": "Berlin"}
        assert save(visitor, made, shop="Lisbon", **{"qw-confirmed": "on"}).redirect_chain
        assert row(made)["arguments"] == {"shop": "Lisbon"}

    def test_arguments_of_an_older_version_are_shown_and_saved_as_the_code_of_today_takes_them(self, visitor, types):
        @job(name="tests.mail", version=2, upgrade=lambda arguments, version: {"address": arguments["to"]})
        def mail(address: str):
            pass

        made = in_state(mail, "scheduled", arguments={"to": "ann@example.com"}, version=1)
        assert form_of(visitor, made)["address"] == ["ann@example.com"]
        assert save(visitor, made).redirect_chain
        assert row(made)["arguments"] == {"address": "ann@example.com"}

    def test_arguments_that_cannot_be_upgraded_leave_the_form_to_people(self, visitor, types):
        @job(name="tests.mail", version=2, upgrade=lambda arguments, version: arguments["gone"])
        def mail(address: str):
            pass

        made = in_state(mail, "scheduled", arguments={"to": "ann@example.com"}, version=1)
        assert form_of(visitor, made)["address"] == [""]
        assert save(visitor, made, address="ben@example.com").redirect_chain
        assert row(made)["arguments"] == {"address": "ben@example.com"}

    def test_an_address_fills_in_nothing(self, visitor, tea):
        page = visitor.get(page_of(tea, "update/") + "?subject=Linked&from=1")
        assert filled_in(page)["subject"] == ["Tea"]


class TestKept:
    def test_a_secret_is_kept_unless_another_is_entered_and_never_shown(self, visitor, root, types):
        kind = types["log_in"]
        made = in_state(kind, "scheduled", arguments=stored_by(root, kind, password="opensesame"))
        page = visitor.get(page_of(made, "update/"))
        assert "opensesame" not in text_of(page)
        assert made.arguments["password"]["$secret"] not in text_of(page)
        assert "Leave this empty to keep what is stored." in text_of(page)
        save(visitor, made, user_name="anna")
        assert row(made)["arguments"] == {**made.arguments, "user_name": "anna"}
        save(visitor, made, password="closesesame")
        assert kind.arguments.load(row(made)["arguments"])["password"].get_secret_value() == "closesesame"
        told = str(list(AuditEntry.objects.values())) + text_of(visitor.get(page_of(made)))
        assert "sesame" not in told

    def test_a_secret_that_cannot_be_read_is_to_be_entered_again(self, visitor, types, settings):
        kind = types["log_in"]
        owner = user_with(*RIGHTS)
        made = in_state(kind, "scheduled", arguments=stored_by(owner, kind, password="opensesame"), created_by=owner)
        settings.SECRET_KEY = "another"
        visitor.force_login(owner)
        before = row(made)
        assert "Enter it again" in text_of(save(visitor, made))
        assert row(made) == before
        save(visitor, made, password="closesesame")
        assert kind.arguments.load(row(made)["arguments"])["password"].get_secret_value() == "closesesame"

    def test_a_secret_of_another_person_or_of_code_is_to_be_entered_again(self, visitor, root, types):
        kind = types["log_in"]
        for owner in (None, superuser("anna")):
            given = stored_by(owner, kind, password="opensesame")
            made = in_state(kind, "scheduled", arguments=given, created_by=root)
            before = row(made)
            assert "Another person entered the stored value" in text_of(visitor.get(page_of(made, "update/")))
            page = text_of(save(visitor, made, user_name="ben"))
            assert "Enter this again: another person entered the stored value" in page
            assert not save(visitor, made, user_name="ben").redirect_chain
            assert row(made) == before
            assert save(visitor, made, user_name="ben", password="closesesame").redirect_chain
            assert kind.arguments.load(row(made)["arguments"])["password"].get_secret_value() == "closesesame"
            assert save(visitor, made, user_name="anna").redirect_chain  # now it is one's own
            assert kind.arguments.load(row(made)["arguments"])["password"].get_secret_value() == "closesesame"

    def test_another_time_leaves_a_secret_of_another_person_where_it_is(self, visitor, types):
        kind = types["log_in"]
        kind.schedulable = True
        given = stored_by(superuser("anna"), kind, password="opensesame", user_name="ben")
        made = in_state(kind, "scheduled", arguments=given)
        assert save(visitor, made, **LATER).redirect_chain
        assert row(made)["arguments"] == given
        assert row(made)["run_after"].year == 2999

    def test_a_form_does_not_see_a_secret_of_another_person_beside_another_address(self, visitor, types):
        sent = []

        class Form(forms.Form):
            host = forms.CharField()
            password = forms.CharField(widget=forms.PasswordInput)

            def clean(self):
                sent.append((self.cleaned_data.get("host"), str(self.cleaned_data.get("password"))))
                return self.cleaned_data

        @job(name="tests.form", form=Form)
        def handler(host: str, password: str) -> None: ...

        given = stored_by(superuser("anna"), handler, host="good", password="opensesame")
        made = in_state(handler, "scheduled", arguments=given)
        sent.clear()
        assert not save(visitor, made, host="evil").redirect_chain
        assert "sesame" not in str(sent)
        assert save(visitor, made, host="good").redirect_chain
        assert row(made)["arguments"] == given

    def test_what_a_form_says_of_a_kept_secret_is_masked_and_blanks_are_no_secret(self, visitor, root, types):
        class Form(forms.Form):
            host = forms.CharField()
            password = forms.CharField(widget=forms.PasswordInput)

            def clean(self):
                if self.cleaned_data.get("host") == "bad":
                    self.add_error("host", f"no {self.cleaned_data['password']} there")
                    raise forms.ValidationError(f"not with {self.cleaned_data['password']}", code="login")
                return self.cleaned_data

        @job(name="tests.form", form=Form)
        def handler(host: str, password: str) -> None: ...

        made = in_state(handler, "scheduled", arguments=stored_by(root, handler, host="good", password="opensesame"))
        before = row(made)
        page = text_of(save(visitor, made, host="bad"))
        assert f"no {MASK} there" in page
        assert f"not with {MASK}" in page
        assert "sesame" not in page
        assert not save(visitor, made, host="other", password="   ").redirect_chain
        assert row(made) == before
        assert save(visitor, made, host="other").redirect_chain
        assert row(made)["arguments"]["host"] == "other"
        assert row(made)["arguments"]["password"] == before["arguments"]["password"]

    def test_an_upload_stays_until_another_is_chosen(
        self, visitor, types, settings, tmp_path, django_capture_on_commit_callbacks
    ):
        settings.MEDIA_ROOT = str(tmp_path)
        kept = lambda: {path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file()}  # noqa: E731
        shops = [Shop.objects.create(name=name) for name in ("Berlin", "Lisbon")]
        arguments = stored(types["upload"], file=SimpleUploadedFile("a&b.csv", b"old"), shop=shops[0])
        made = in_state(types["upload"], "scheduled", arguments=arguments)
        page = text_of(visitor.get(page_of(made, "update/")))
        assert arguments["file"]["$file"] not in page
        assert "Leave this empty to keep a&amp;b.csv (3\xa0bytes)." in page
        save(visitor, made, shop=str(shops[1].pk))
        assert row(made)["arguments"] == {**arguments, "shop": row(made)["arguments"]["shop"]}
        assert row(made)["arguments"]["shop"]["pk"] == shops[1].pk
        with django_capture_on_commit_callbacks(execute=True):
            save(visitor, made, file=SimpleUploadedFile("b.csv", b"new"))
        assert row(made)["arguments"]["file"]["name"] == "b.csv"
        assert kept() == {b"new"}
        form = form_of(visitor, made)
        start(made)
        save(visitor, made, form, file=SimpleUploadedFile("c.csv", b"late"))
        assert kept() == {b"new"}

    def test_a_form_of_ones_own_may_look_at_what_is_kept(self, visitor, types, settings, tmp_path):
        settings.MEDIA_ROOT = str(tmp_path)

        class Table(forms.Form):
            file = forms.FileField()
            title = forms.CharField()

            def clean_file(self):
                if not self.cleaned_data["file"].read().startswith(b"sku"):
                    raise forms.ValidationError("It has no column sku.")
                return self.cleaned_data["file"]

        @job(name="tests.table", form=Table)
        def table(arguments):
            pass

        arguments = stored(table, file=SimpleUploadedFile("a.csv", b"sku,price"), title="Old")
        made = make_job(table, "scheduled", arguments=arguments)
        save(visitor, made, title="New")
        assert row(made)["arguments"] == {**arguments, "title": "New"}
        wrong = save(visitor, made, file=SimpleUploadedFile("b.csv", b"price"))
        assert "It has no column sku." in text_of(wrong)

    def test_a_row_that_one_may_not_choose_is_neither_named_nor_kept(self, client, types, monkeypatch):
        @job(name="tests.pick")
        def pick(shop: Shop, copies: int = 1):
            pass

        mine, other = Shop.objects.create(name="Verona"), Shop.objects.create(name="Palermo")
        monkeypatch.setattr(ShopAdmin, "get_queryset", lambda self, request: Shop.objects.filter(name="Verona"))
        made = make_job(pick, "scheduled", arguments=stored(pick, shop=other))
        client.force_login(user_with(*RIGHTS, "testapp.view_shop"))
        page = client.get(page_of(made, "update/"))
        assert "The value of “shop” no longer fits." in text_of(page)
        assert "Palermo" not in text_of(page)
        before = row(made)
        assert save(client, made, shop=str(other.pk)).status_code == 200
        assert row(made) == before
        save(client, made, shop=str(mine.pk))
        assert row(made)["arguments"]["shop"]["pk"] == mine.pk


class TestTooLate:
    def test_what_started_meanwhile_is_not_changed_and_the_form_for_a_new_job_has_what_was_typed(self, visitor, tea):
        form = form_of(visitor, tea)
        start(tea)
        before = row(tea)
        response = save(visitor, tea, form, subject="Coffee", copies="3", **LATER)
        page = text_of(response)
        assert response.status_code == 409
        assert "It was already started at" in page
        assert "Nothing was changed." in page
        assert f'<a href="{page_of(tea)}">#{tea.pk}</a>' in page
        assert f'action="{BASE}run/tests.greet/"' in page
        assert [filled_in(response)[name] for name in ("subject", "copies")] == [["Coffee"], ["3"]]
        assert row(tea) == before
        visitor.post(f"{BASE}run/tests.greet/", filled_in(response))
        new = Job.objects.latest("pk")
        assert new.arguments == {"subject": "Coffee", "copies": 3, "mode": "plain"}
        assert new.status == "scheduled"
        assert new.run_after.year in (2998, 2999)  # by which clock it is does not matter here

    def test_a_claim_while_the_form_is_read_is_told_too_and_on_record(self, visitor, tea, monkeypatch):
        form, write = form_of(visitor, tea), Job.update_dumped

        def after_a_claim(*args, **options):
            start(tea)
            return write(*args, **options)

        monkeypatch.setattr(Job, "update_dumped", after_a_claim)
        response = save(visitor, tea, form, subject="Coffee")
        assert response.status_code == 409
        assert "It was already started at" in text_of(response)
        assert row(tea)["arguments"]["subject"] == "Tea"
        assert AuditEntry.objects.get().outcome == "too late"
        assert "tried to change it, but it was too late" in text_of(visitor.get(page_of(tea)))

    def test_no_secret_comes_back_with_what_was_typed(self, visitor, types):
        made = in_state(types["log_in"], "scheduled", arguments=stored(types["log_in"], password="opensesame"))
        form = form_of(visitor, made)
        start(made)
        response = save(visitor, made, form, password="closesesame", user_name="anna")
        assert filled_in(response)["user_name"] == ["anna"]
        assert "sesame" not in text_of(response)

    @pytest.mark.parametrize("state", [state for state in STATES if state not in WAITING])
    def test_what_does_not_wait_leads_to_run_again(self, visitor, types, state):
        made = in_state(types["greet"], state, arguments=stored(types["greet"], subject="Tea"))
        assert page_of(made, "update/") not in text_of(visitor.get(page_of(made)))
        response = visitor.get(page_of(made, "update/"), follow=True)
        assert response.redirect_chain == [(page_of(made), 302)]
        (message,) = messages_of(response)
        assert "Nothing was changed." in message
        assert f'href="{BASE}run/tests.greet/?from={made.pk}"' in message

    def test_what_is_deleted_leads_to_the_list(self, visitor, tea, monkeypatch):
        form, write = form_of(visitor, tea), Job.update_dumped

        def after_its_end(*args, **options):
            Job.objects.filter(pk=tea.pk).delete()
            return write(*args, **options)

        monkeypatch.setattr(Job, "update_dumped", after_its_end)
        response = save(visitor, tea, form, subject="Coffee")
        assert response.redirect_chain == [(BASE, 302)]
        assert messages_of(response) == ["It has been deleted in the meantime."]


class TestOthers:
    def test_what_another_has_changed_meanwhile_is_not_overwritten_unasked(self, visitor, tea):
        form = form_of(visitor, tea)
        tea.update(copies=7)
        response = save(visitor, tea, form, subject="Coffee")
        assert "Another user has changed this job in the meantime." in text_of(response)
        assert row(tea)["arguments"] == {"subject": "Tea", "copies": 7, "mode": "plain"}
        save(visitor, tea, filled_in(response))
        assert row(tea)["arguments"] == {"subject": "Coffee", "copies": 2, "mode": "plain"}

    def test_another_time_is_a_change_too(self, visitor, tea):
        form, moved = form_of(visitor, tea), tea.run_after + dt.timedelta(days=1)
        tea.reschedule(moved)
        response = save(visitor, tea, form, **LATER)
        assert f"Another user has moved this job to {clock(moved)} in the meantime." in text_of(response)
        assert "Another user has changed this job" not in text_of(response)
        assert row(tea)["run_after"] == moved
        save(visitor, tea, filled_in(response))
        assert row(tea)["run_after"].year == 2999

    def test_a_job_whose_time_comes_while_the_form_is_read_has_not_changed(self, visitor, tea):
        form = form_of(visitor, tea)
        Job.objects.filter(pk=tea.pk).update(status="new")
        assert messages_of(save(visitor, tea, form, subject="Coffee")) == [f"“{tea}” was saved."]

    def test_nor_if_it_is_changed_while_the_form_is_read(self, visitor, tea, monkeypatch):
        form, write = form_of(visitor, tea), Job.update_dumped

        def after_another(*args, **options):
            monkeypatch.setattr(Job, "update_dumped", write)
            Job.objects.get(pk=tea.pk).update(copies=7)
            return write(*args, **options)

        monkeypatch.setattr(Job, "update_dumped", after_another)
        response = save(visitor, tea, form, subject="Coffee")
        assert "Another user has changed this job in the meantime." in text_of(response)
        assert row(tea)["arguments"]["subject"] == "Tea"
        save(visitor, tea, filled_in(response))
        assert row(tea)["arguments"]["subject"] == "Coffee"

    def test_nor_is_its_time_if_it_is_moved_while_the_form_is_read(self, visitor, tea, monkeypatch):
        form, write, moved = form_of(visitor, tea), Job.update_dumped, tea.run_after + dt.timedelta(days=1)

        def after_another(*args, **options):
            monkeypatch.setattr(Job, "update_dumped", write)
            Job.objects.get(pk=tea.pk).reschedule(moved)
            return write(*args, **options)

        monkeypatch.setattr(Job, "update_dumped", after_another)
        response = save(visitor, tea, form, **LATER)
        assert f"Another user has moved this job to {clock(moved)} in the meantime." in text_of(response)
        assert f"Keep the time: {clock(moved)}" in text_of(response)
        assert row(tea)["run_after"] == moved
        save(visitor, tea, filled_in(response))
        assert row(tea)["run_after"].year == 2999

    @pytest.mark.parametrize("has_started", [False, True])
    def test_sent_twice_it_is_saved_once(self, visitor, tea, has_started):
        form = form_of(visitor, tea)
        save(visitor, tea, form, subject="Coffee")
        if has_started:
            start(tea)
        before = row(tea)
        response = save(visitor, tea, form, subject="Coffee")
        assert messages_of(response) == ["This change was saved already."]
        assert row(tea) == before
        assert AuditEntry.objects.count() == 1

    def test_another_job_like_it_is_named_on_the_form(self, visitor, types):
        @job(name="tests.only", title="Only one", unique=Unique())
        def only(shop: int):
            pass

        other, made = only.enqueue(shop=1), only.enqueue(shop=2)
        before = row(made)
        page = text_of(save(visitor, made, shop="1"))
        assert f'<a href="{page_of(other)}">#{other.pk}</a>' in page
        assert 'value="1"' in page
        assert row(made) == before


class TestDrift:
    def test_what_still_fits_is_filled_in_the_rest_explained_and_so_it_is_repaired(self, visitor, types):
        yesterday = {"subject": "Hello", "copies": "many", "country": "DE"}
        made = make_job(types["greet"], "scheduled", arguments=yesterday, fingerprint="yesterday")
        page = visitor.get(page_of(made, "update/"))
        told = "The field “mode” is new. The field “country” no longer exists. The value of “copies” no longer fits."
        assert told in text_of(page)
        assert filled_in(page)["subject"] == ["Hello"]
        assert "many" not in filled_in(page)["copies"]
        save(visitor, made, copies="2")
        after = Job.objects.get(pk=made.pk)
        assert after.arguments == {"subject": "Hello", "copies": 2, "mode": "plain"}
        assert types["greet"].can_start(after)
        assert "is new" not in text_of(visitor.get(page_of(made)))

    def test_a_type_that_takes_no_arguments_any_more_can_be_repaired(self, visitor, types):
        made = make_job(types["open"], "scheduled", arguments={"subject": "Hello"}, fingerprint="yesterday")
        assert page_of(made, "update/") in text_of(visitor.get(page_of(made)))
        save(visitor, made)
        assert types["open"].can_start(Job.objects.get(pk=made.pk))

    def test_code_that_is_gone_is_told(self, visitor, types):
        made = make_job("tests.gone", "scheduled")
        assert page_of(made, "update/") not in text_of(visitor.get(page_of(made)))
        for send in (visitor.get, visitor.post):
            (message,) = messages_of(send(page_of(made, "update/"), follow=True))
            assert "no longer part of the project" in message


class TestRights:
    @pytest.mark.parametrize("state", STATES)
    def test_it_is_offered_where_it_works(self, visitor, types, state):
        made = in_state(types["greet"], state, arguments=stored(types["greet"], subject="Tea"))
        page = text_of(visitor.get(page_of(made)))
        assert (f'href="{page_of(made, "update/")}"' in page) is (state in WAITING)

    def test_a_job_without_arguments_needs_no_form_but_that_of_its_time(self, visitor, types):
        made = in_state(types["open"], "scheduled")
        assert page_of(made, "update/") not in text_of(visitor.get(page_of(made)))

    def test_who_has_all_rights_may(self, client, tea):
        client.force_login(user_with(*RIGHTS))
        assert page_of(tea, "update/") in text_of(client.get(page_of(tea)))
        save(client, tea, subject="Coffee")
        assert row(tea)["arguments"]["subject"] == "Coffee"

    @pytest.mark.parametrize("missing", RIGHTS[1:])
    def test_without_one_of_them_nothing_changes_and_the_attempt_is_on_record(self, client, visitor, tea, missing):
        form = form_of(visitor, tea)
        client.force_login(user_with(*(right for right in RIGHTS if right != missing)))
        before = row(tea)
        assert page_of(tea, "update/") not in text_of(client.get(page_of(tea)))
        assert client.get(page_of(tea, "update/")).status_code == 403
        response = save(client, tea, form, subject="Coffee")
        assert response.status_code == 403
        assert missing in text_of(response)
        assert "Tea" not in text_of(response)
        assert row(tea) == before
        entry = AuditEntry.objects.get()
        assert (entry.action, entry.outcome, entry.user_name) == ("update", "denied", "staff")

    def test_a_type_with_a_rule_of_its_own_is_asked_for_each_right(self, client, types):
        made = in_state(types["by_code"], "scheduled")
        client.force_login(user_with(*RIGHTS, name="may-reschedule"))
        assert client.get(page_of(made, "update/")).status_code == 403

    def test_jobs_of_others_are_not_found_where_one_sees_ones_own(self, client, tea, settings):
        settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
        client.force_login(user_with(*RIGHTS))
        before = row(tea)
        for send in (client.get, client.post):
            assert send(page_of(tea, "update/")).status_code == 404
        assert row(tea) == before

    def test_who_changed_it_is_asked_again_when_it_starts(self, client, tea):
        user = user_with(*RIGHTS)
        client.force_login(user)
        Job.objects.update(created_by=user_with(name="left"))
        save(client, tea, subject="Coffee")
        made = Job.objects.get(pk=tea.pk)
        recheck.check(made.pk, str(made.created_by_id), made.job_type, "default")
        user.user_permissions.clear()
        with pytest.raises(NoLongerAllowed):
            recheck.check(made.pk, str(made.created_by_id), made.job_type, "default")


def test_a_time_keeps_its_zone(visitor, tea):
    """What is left as it is does not move by a second."""
    Job.objects.update(run_after=timezone.now().replace(microsecond=123456) + dt.timedelta(days=1))
    before = row(tea)
    save(visitor, tea, subject="Coffee")
    assert row(tea)["run_after"] == before["run_after"]
