"""``checkjobs``: what would not run with this code is found before it is deployed, and old arguments are upgraded."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django import forms
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from qorworker import Cron, Every, Secret, Unique, job
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidArguments
from qorworker.models import AuditEntry, Calendar, Job, Schedule
from qorworker.queries import stored
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import columns, make_job
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
HOUR = timedelta(hours=1)


def check(*options: str) -> tuple[str, int]:
    """What it says, and its exit status."""
    said = StringIO()
    try:
        call_command("checkjobs", *options, stdout=said, no_color=True)
    except SystemExit as exited:
        return said.getvalue(), exited.code
    return said.getvalue(), 0


def findings(*options: str) -> list[dict]:
    return json.loads(check("--format", "json", *options)[0])["findings"]


def old_code(**options):
    """The type as it was when jobs were stored."""

    @job(**{"name": "app.mail", **options})
    def mail(to: str, copies: int = 1, password: Secret[str] = "", file: UploadedFile | None = None) -> None:
        pass

    return mail


def rename(arguments, version):
    arguments["address"] = arguments.pop("to")
    arguments["token"] = arguments.pop("password", None)
    arguments["letter"] = arguments.pop("file", None)
    return arguments


def new_code(**options):
    """The code that is about to be deployed: arguments have other names."""
    registry.unregister("app.mail")

    @job(**{"name": "app.mail", "version": 2, "upgrade": rename, **options})
    def mail(
        address: str, copies: int = 1, token: Secret[str] = "", letter: UploadedFile | None = None, note: str = "-"
    ) -> None:
        pass

    return mail


@contextmanager
def held_back(name: str):
    """Without a type for the time of the block."""
    job_type = registry.get(name)
    registry.unregister(name)
    yield
    registry.register(job_type)


class TestSound:
    def test_without_anything_stored_all_is_well(self):
        said, status = check()
        assert (said, status) == (
            "0 waiting jobs, of which 0 were looked at, and 0 schedules: 0 errors, 0 warnings.\n",
            0,
        )

    def test_jobs_and_schedules_that_fit_are_counted(self):
        mail = old_code()
        mail.enqueue_many([{"to": "a"}, {"to": "b"}])
        mail.using(run_after=HOUR).enqueue(to="c")
        Schedule.objects.create_for(mail, Every(hours=1), {"to": "d"})
        said, status = check()
        assert said.startswith("3 waiting jobs, of which 3 were looked at, and 1 schedules: 0 errors")
        assert status == 0

    @pytest.mark.parametrize("status", ["running", "done", "exception", "killed", "cancelled"])
    def test_jobs_that_do_not_wait_are_no_matter(self, status):
        make_job(status, name="gone.job")
        assert findings() == []


class TestJobs:
    def test_a_type_that_is_gone_is_an_error_with_the_name_that_may_be_meant(self):
        old_code()
        lost = [make_job(name="app.mails"), make_job("scheduled", name="app.mails")]
        (found,) = findings()
        assert (found["level"], found["job_type"], found["count"]) == ("error", "app.mails", 2)
        assert "app.mail" in found["problem"].replace("app.mails", "")
        assert sorted(found["examples"]) == [each.pk for each in lost]
        said, status = check()
        assert f"ERROR 2 jobs of app.mails in default (#{lost[0].pk}, #{lost[1].pk}): " in said
        assert status == 1

    def test_arguments_that_no_longer_fit_are_named(self):
        old_code().enqueue_many([{"to": "a"}, {"to": "b"}])
        new_code(version=1, upgrade=None)
        (found,) = findings()
        assert (found["level"], found["count"]) == ("error", 2)
        assert "address: " in found["problem"]
        assert "to: This argument no longer exists." in found["problem"]

    def test_a_row_that_is_gone_is_found(self):
        @job(name="app.visit")
        def visit(shop: Shop) -> None:
            pass

        shop = Shop.objects.create(name="Berlin")
        visit.enqueue(shop=shop)
        shop.delete()
        (found,) = findings()
        assert "no longer exists" in found["problem"]

    def test_a_secret_of_another_key_is_found_and_never_shown(self, settings):
        old_code().enqueue(to="a", password="hunter2")
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", []
        said, status = check()
        assert status == 1
        assert "hunter2" not in said

    def test_a_definition_that_is_wrong_is_an_error(self):
        @job(name="app.odd")
        def odd(what: complex) -> None:
            pass

        make_job(name="app.odd")
        said = StringIO()
        with pytest.raises(SystemExit):
            call_command("checkjobs", stdout=said, skip_checks=True)
        assert "The definition at" in said.getvalue()
        assert "what: " in said.getvalue()

    def test_a_queue_that_is_gone_is_a_warning_which_may_be_made_to_fail(self):
        old_code().enqueue(to="a")
        Job.objects.update(queue_name="gone")
        (found,) = findings()
        assert (found["level"], found["queue"]) == ("warning", "gone")
        assert check()[1] == 0
        assert check("--fail-level", "warning")[1] == 1

    def test_jobs_of_newer_code_are_an_error(self):
        make_job(name="app.mail", version=3)
        new_code()
        (found,) = findings()
        assert (found["level"], found["version"]) == ("error", 3)
        assert "this code has version 2, and leaves it alone" in found["problem"]

    def test_an_upgrade_that_fails_is_an_error(self):
        old_code().enqueue(to="a")
        new_code(upgrade=lambda arguments, version: arguments["gone"])
        (found,) = findings()
        assert "could not be upgraded: KeyError: 'gone'" in found["problem"]

    def test_whatever_a_form_raises_is_found(self):
        def burst(arguments, version):
            return {"address": "x" * 10**6}

        old_code().enqueue(to="a")
        new_code(upgrade=burst)
        assert [found["level"] for found in findings()] == ["info"]  # loading does not measure; storing does
        assert check("--fix")[0].startswith("Upgraded: 0 jobs, 0 schedules.")

    def test_of_very_many_different_problems_only_some_are_listed(self):
        @job(name="app.choose")
        def choose(shop: Shop) -> None:
            pass

        for number in range(15):
            shop = Shop.objects.create(name=f"Shop {number}")
            choose.enqueue(shop=shop)
            shop.delete()
        found = findings()
        assert len(found) == 11
        assert sum(each["count"] for each in found) == 15
        assert all(len(each["examples"]) <= 5 for each in found)


class TestSchedules:
    def schedule(self, **options):
        return Schedule.objects.create_for(old_code(), Every(hours=1), {"to": "a"}, name="Nightly", **options)

    def test_a_type_that_is_gone(self):
        self.schedule()
        with held_back("app.mail"):
            said, status = check()
        assert "ERROR Schedule 'Nightly' of app.mail: " in said
        assert status == 1

    def test_arguments_that_no_longer_fit(self):
        self.schedule()
        new_code(version=1, upgrade=None)
        (found,) = findings()
        assert (found["kind"], found["examples"]) == ("schedule", ["Nightly"])
        assert "to: This argument no longer exists." in found["problem"]

    def test_a_calendar_that_is_gone(self):
        Calendar.objects.create(name="holidays")
        Schedule.objects.create_for(old_code(), Cron("0 6 * * *", calendar="holidays"), {"to": "a"})
        assert findings() == []
        Calendar.objects.all().delete()
        (found,) = findings()
        assert "The calendar “holidays” does not exist." in found["problem"]

    @pytest.mark.parametrize("changes", [{"zone": "Mars/Olympus"}, {"expression": "0 6 * *"}])
    def test_a_rule_that_is_not_valid(self, changes):
        Schedule.objects.create_for(old_code(), Cron("0 6 * * *"), {"to": "a"})
        Schedule.objects.update(**changes)
        (found,) = findings()
        assert found["level"] == "error"

    def test_a_queue_that_is_gone(self, settings):
        self.schedule()
        new_code(version=1, upgrade=None, queue_name="gone")
        assert "QORWORKER['QUEUES'] has no queue 'gone'." in {each["problem"] for each in findings()}

    def test_what_code_no_longer_declares_is_no_matter(self):
        self.schedule()
        Schedule.objects.update(enabled=False)
        with held_back("app.mail"):
            assert findings() == []

    def test_newer_code_has_stored_it(self):
        self.schedule()
        Schedule.objects.update(version=2)
        (found,) = findings()
        assert "this code has version 1, and leaves it alone" in found["problem"]


class TestFix:
    def test_old_arguments_are_upgraded_with_secrets_and_files_and_nothing_else_changes(self, settings, tmp_path):
        settings.MEDIA_ROOT = str(tmp_path)
        stored = old_code().enqueue(to="a", password="hunter2", file=SimpleUploadedFile("a.txt", b"Dear Ann"))
        before = columns(stored)
        mail = new_code()
        assert [each["level"] for each in findings()] == ["info"]
        said, status = check("--fix")
        assert (said.splitlines()[0], status) == ("Upgraded: 1 jobs, 0 schedules.", 0)
        after = columns(stored)
        assert {name for name in before if before[name] != after[name]} == {"arguments", "fingerprint", "version"}
        loaded = mail.arguments.load(after["arguments"])
        assert (loaded["address"], loaded["token"].get_secret_value(), loaded["note"]) == ("a", "hunter2", "-")
        assert loaded["letter"].read() == b"Dear Ann"
        loaded["letter"].close()
        assert [path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file()] == [b"Dear Ann"]

    def test_the_audit_says_so_and_whose_rights_count_stays(self, django_user_model):
        user = django_user_model.objects.create_user("lou")
        stored = old_code().using(user=user, origin="admin").enqueue(to="a")
        new_code()
        check("--fix")
        entries = AuditEntry.objects.of_job(stored.pk).values_list("action", "origin", "user_name")
        assert set(entries) == {("enqueue", "admin", "lou"), ("upgrade", "command", "")}
        requests = AuditEntry.objects.requesters(stored.pk, ["enqueue", "update"])
        assert [action for action, _user in requests] == ["enqueue"]

    def test_a_second_time_there_is_nothing_to_do(self):
        old_code().enqueue(to="a")
        new_code()
        check("--fix")
        assert check("--fix")[0].startswith("Upgraded: 0 jobs, 0 schedules.")

    def test_the_unique_key_is_that_of_the_new_arguments(self):
        rule = {"unique": Unique(by=["to"])}
        stored = old_code(**rule).enqueue(to="a")
        mail = new_code(unique=Unique(by=["address"], on_conflict="return"))
        check("--fix")
        assert mail.enqueue(address="a") == stored

    def test_a_job_that_has_got_further_is_left_for_its_start(self):
        stored = old_code().enqueue(to="a")
        Job.objects.update(checkpoint='{"n": 7}')
        mail = new_code()
        assert check("--fix")[0].startswith("Upgraded: 0 jobs")
        stored.refresh_from_db()
        assert (stored.version, stored.checkpoint) == (1, '{"n": 7}')
        assert mail.can_start(stored)

    def test_what_cannot_be_upgraded_stays_and_is_reported(self):
        good, bad = old_code().enqueue(to="a"), old_code().enqueue(to="b")

        def upgrade(arguments, version):
            if arguments["to"] == "b":
                raise ValueError("no b")
            return rename(arguments, version)

        before = columns(bad)
        new_code(upgrade=upgrade)
        said, status = check("--fix")
        assert said.startswith("Upgraded: 1 jobs")
        assert f"(#{bad.pk}): __all__: The arguments of version 1 could not be upgraded: ValueError: no b" in said
        assert status == 1
        assert (columns(bad), columns(good)["version"]) == (before, 2)

    def test_a_schedule_is_upgraded_and_who_answers_for_it_stays(self, django_user_model):
        user = django_user_model.objects.create_user("lou")
        old = Schedule.objects.create_for(old_code(), Every(hours=1), {"to": "a"}, by=user, origin="admin")
        new_code()
        assert [each["level"] for each in findings()] == ["info"]
        assert check("--fix")[0].startswith("Upgraded: 0 jobs, 1 schedules.")
        new = Schedule.objects.get()
        assert new.arguments["address"] == "a"
        assert (new.version, new.answerable, new.next_slot) == (2, user, old.next_slot)
        assert AuditEntry.objects.filter(action="upgrade schedule").count() == 1

    def test_without_it_nothing_is_changed(self):
        stored = old_code().enqueue(to="a")
        before = columns(stored)
        new_code()
        check()
        assert columns(stored) == before


class TestSamples:
    def test_only_some_jobs_of_a_kind_are_looked_at_the_oldest_and_the_newest(self, monkeypatch):
        pks = [each.pk for each in old_code().enqueue_many([{"to": str(number)} for number in range(10)])]
        monkeypatch.setattr(stored, "AT_ONCE", 2)
        (group,) = stored.groups("default")
        assert group.count == 10
        assert {each.pk for each in stored.jobs_of(group, "default", 4)} == {*pks[:2], *pks[-2:]}
        assert json.loads(check("--format", "json", "--sample", "4")[0])["checked"] == 4
        assert json.loads(check("--format", "json", "--sample", "4", "--all")[0])["checked"] == 10

    def test_many_jobs_take_as_many_statements_as_few(self):
        def statements() -> int:
            with CaptureQueriesContext(
                connection,
            ) as queries:
                check("--sample", "4")
            return len(queries)

        mail = old_code()
        mail.enqueue_many([{"to": "a"}] * 5)
        few = statements()
        mail.enqueue_many([{"to": "a"}] * 300)
        assert statements() == few

    @pytest.mark.parametrize("sample", ["0", "-1", "x"])
    def test_a_sample_is_at_least_one_job(self, sample):
        with pytest.raises(CommandError, match="not a whole number of at least 1"):
            call_command("checkjobs", f"--sample={sample}")

    def test_a_form_that_fails_at_one_job_does_not_keep_the_others_from_being_upgraded(self):
        class Address(forms.CharField):
            def clean(self, value):
                if value == "b":
                    raise RuntimeError("no b")
                return value

        class MailForm(forms.Form):
            to = Address()
            copies = forms.IntegerField()

        @job(name="app.mail")
        def old(to: str, copies: int = 1) -> None:
            pass

        old.enqueue_many([{"to": "a"}, {"to": "b"}, {"to": "c"}])
        registry.unregister("app.mail")

        @job(name="app.mail", version=2, upgrade=lambda arguments, version: arguments, form=MailForm)
        def new(arguments) -> None:
            pass

        said, _status = check("--fix")
        assert said.startswith("Upgraded: 2 jobs, 0 schedules.")
        assert Job.objects.get(version=1).arguments["to"] == "b"

    def test_what_is_left_is_a_warning_since_it_still_needs_the_upgrade(self):
        old_code().enqueue(to="a")
        Job.objects.update(checkpoint='{"n": 7}')
        new_code()
        assert [each["level"] for each in findings()] == ["info"]
        (found,) = findings("--fix")
        assert (found["level"], found["version"]) == ("warning", 1)
        assert "“upgrade” has to stay in the code" in found["problem"]
        assert check("--fix", "--fail-level", "warning")[1] == 1


class TestOlderCode:
    """Old and new code run side by side during a deployment."""

    @pytest.fixture
    def newer(self):
        """A job of newer code, seen by old code that could read its arguments."""
        stored = new_code().enqueue(address="a", note="keep this")
        registry.unregister("app.mail")

        @job(name="app.mail")
        def mail(address: str, copies: int = 1) -> None:
            pass

        return stored

    def refused(self):
        return pytest.raises(InvalidArguments, match="This code has version 1")

    def test_it_does_not_change_arguments_that_it_cannot_know(self, newer):
        before = columns(newer)
        with self.refused():
            newer.update(copies=3)
        with self.refused():
            newer.update_dumped({"address": "b", "copies": 3})
        assert columns(newer) == before

    def test_it_makes_no_job_of_them(self, newer):
        newer.cancel()
        with self.refused():
            newer.rerun()
        assert Job.objects.count() == 1

    def test_it_runs_no_schedule_that_it_cannot_know(self):
        schedule = Schedule.objects.create_for(new_code(), Every(hours=1), {"address": "a"})
        registry.unregister("app.mail")

        @job(name="app.mail")
        def mail(
            address: str, copies: int, token: Secret[str] = "", letter: UploadedFile | None = None, note: str = ""
        ) -> None:
            pass

        with self.refused():
            schedule.run_now()

    def test_its_time_and_its_end_are_no_matter_of_versions(self, newer):
        newer.reschedule(timezone.now() + HOUR)
        newer.cancel()
        assert newer.status == "cancelled"
