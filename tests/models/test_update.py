"""Other arguments, and another time, for a job that waits: one UPDATE that counts only as long as it does."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.db import connections, transaction
from django.test import override_settings

from qorworker import Secret, Unique, job
from qorworker.arguments import files
from qorworker.definitions.registry import registry
from qorworker.exceptions import (
    AlreadyEnqueued,
    ChangedMeanwhile,
    InvalidArguments,
    InvalidTransition,
    SecretsUnavailable,
    UnknownJobType,
)
from qorworker.models import AuditEntry, DatabaseNow, Job
from qorworker.models.sql import claim
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import STATUSES, claim_ids, columns, leaving, make_job, race, wanted, written

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
HOUR = timedelta(hours=1)
LATER = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
RULES = [{"among": "waiting"}, {"among": "unfinished"}, {"period": HOUR}]
STARTED = [status for status in STATUSES if status not in ("new", "scheduled")]


def declare(**options):
    @job(**{"name": "app.job", **options})
    def handler(subject: str, copies: int = 1, password: Secret[str] = "", file: UploadedFile | None = None):
        pass

    return handler


def upload(content=b"sku,price"):
    return SimpleUploadedFile("a.csv", content)


@pytest.fixture
def kept(settings, tmp_path):
    """The uploads that are in the storage."""
    settings.MEDIA_ROOT = str(tmp_path)
    return lambda: {path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file()}


def entries(job):
    return list(AuditEntry.objects.of_job(job.pk).values_list("action", "outcome", "details"))


def changed(before, job):
    after = columns(job)
    return {name for name in before if before[name] != after[name]}


class TestArguments:
    def test_what_is_named_changes_and_everything_else_stays(self, kept, django_user_model):
        user = django_user_model.objects.create_user("lou")
        job = declare().using(run_after=HOUR).enqueue(subject="Tea", file=upload())
        before = columns(job)
        job.update(subject="Coffee", copies="3", by=user)
        assert changed(before, job) == {"arguments"}
        assert job.arguments == {**before["arguments"], "subject": "Coffee", "copies": 3}
        assert kept() == {b"sku,price"}
        entry = AuditEntry.objects.of_job(job.pk).get()
        assert (entry.action, entry.outcome, entry.user_name) == ("update", "ok", "lou")
        assert entry.details == {"arguments": ["copies", "subject"]}

    def test_code_without_a_person_keeps_the_secret_that_it_does_not_name(self):
        job = declare().using(run_after=HOUR).enqueue(subject="Tea", password="opensesame")
        before = columns(job)["arguments"]["password"]
        job.update(subject="Coffee")
        assert (job.arguments["subject"], job.arguments["password"]) == ("Coffee", before)

    @pytest.mark.parametrize("status", ["new", "scheduled"])
    def test_a_job_that_waits_gets_them(self, status):
        handler = declare()
        job = make_job(status, arguments={"subject": "Tea"})
        job.update({"subject": "Coffee"})
        assert job.arguments["subject"] == columns(job)["arguments"]["subject"] == "Coffee"
        assert (job.status, job.fingerprint) == (status, handler.arguments.fingerprint)

    def test_so_does_one_that_waits_for_its_next_attempt(self):
        declare()
        job = make_job("scheduled", attempt=1, max_attempts=3, arguments={"subject": "Tea"})
        job.update(subject="Coffee")
        assert (job.attempt, job.will_retry, job.arguments["subject"]) == (1, True, "Coffee")

    def test_its_next_attempt_begins_at_the_beginning(self):
        declare()
        job = make_job("scheduled", attempt=1, max_attempts=3, arguments={"subject": "Tea"}, checkpoint="{}")
        job.update(subject="Coffee")
        assert columns(job)["checkpoint"] is None

    def test_without_other_arguments_it_keeps_its_place(self):
        job = declare().using(run_after=HOUR).enqueue(subject="Tea")
        Job.objects.filter(pk=job.pk).update(checkpoint="{}")
        job.update(subject="Tea", run_after=LATER)
        assert columns(job)["checkpoint"] == "{}"

    @pytest.mark.parametrize("status", STARTED)
    def test_one_that_has_started_or_ended_does_not_and_it_is_said(self, status, kept):
        declare()
        job = make_job(status, arguments={"subject": "Tea"})
        before = columns(job)
        with pytest.raises(InvalidTransition, match=f"is {status}: it is not possible to update it"):
            job.update(subject="Coffee", file=upload(), run_after=LATER)
        assert columns(job) == before
        assert [entry[:2] for entry in entries(job)] == [("update", "too late")]
        assert kept() == set()

    def test_one_that_is_deleted_is_said_to_be(self, kept):
        job = declare().enqueue(subject="Tea")
        Job.objects.filter(pk=job.pk).delete()
        with pytest.raises(InvalidTransition, match="is deleted"):
            job.update(file=upload())
        assert kept() == set()

    @pytest.mark.parametrize("changes", [{"copies": "many"}, {"colour": "red"}, {"subject": ""}])
    def test_what_does_not_fit_changes_nothing(self, changes, kept):
        job = declare().enqueue(subject="Tea", file=upload())
        before = columns(job)
        with pytest.raises(InvalidArguments):
            job.update({"file": upload(b"new"), **changes}, run_after=LATER)
        assert columns(job) == before
        assert entries(job) == []
        assert kept() == {b"sku,price"}

    def test_a_name_that_is_used_inside_is_changed_with_a_dict(self):
        @job(name="app.job")
        def handler(by: str, run_after: str):
            pass

        made = handler.enqueue(by="Ann", run_after="tea")
        made.update({"by": "Ben", "run_after": "lunch"})
        assert made.arguments == {"by": "Ben", "run_after": "lunch"}

    def test_a_type_whose_code_is_gone_is_named(self):
        with pytest.raises(UnknownJobType):
            make_job().update(subject="Tea")

    def test_a_form_of_ones_own_sees_what_is_kept(self, kept):
        class Login(forms.Form):
            user_name = forms.CharField()
            password = forms.CharField(widget=forms.PasswordInput)
            file = forms.FileField()

            def clean(self):
                given = self.cleaned_data
                if given["password"] != "opensesame" or given["file"].read() != b"sku,price":
                    raise ValidationError("They do not go together.")

        @job(name="app.job", form=Login)
        def handler(arguments):
            pass

        made = handler.enqueue(user_name="ann", password="opensesame", file=upload())
        before = made.arguments
        made.update(user_name="ben")
        assert made.arguments == {**before, "user_name": "ben"}
        with pytest.raises(InvalidArguments, match="go together"):
            made.update(password="closesesame")

    @pytest.mark.django_db(transaction=True)
    def test_it_has_an_asynchronous_twin(self):
        async def change(made):
            await made.aupdate(subject="Coffee")
            await made.aupdate({"copies": 2}, run_after=LATER)
            await sync_to_async(connections.close_all)()

        made = declare().enqueue(subject="Tea")
        asyncio.run(change(made))
        assert (made.arguments["subject"], made.arguments["copies"], made.run_after) == ("Coffee", 2, LATER)


class TestPrivate:
    def test_a_new_secret_takes_the_place_of_the_old_one_and_is_told_nowhere(self):
        handler = declare()
        job = handler.enqueue(subject="Tea", password="opensesame")
        job.update(password="closesesame")
        assert handler.arguments.load(job.arguments)["password"].get_secret_value() == "closesesame"
        assert entries(job) == [("update", "ok", {"arguments": ["password"]})]
        job.update(password="")
        assert handler.arguments.load(job.arguments)["password"].get_secret_value() == ""

    def test_a_secret_that_cannot_be_read_has_to_be_given(self):
        job = declare().enqueue(subject="Tea", password="opensesame")
        with override_settings(QORWORKER={"SECRET_KEYS": ["x" * 43 + "="]}, SECRET_KEY="another"):
            before = columns(job)
            with pytest.raises(SecretsUnavailable):
                job.update(subject="Coffee")
            assert columns(job) == before
            job.update(password="again")

    def test_a_person_keeps_only_a_secret_of_their_own_beside_other_arguments(self, django_user_model):
        anna, ben = (django_user_model.objects.create_user(name) for name in ("anna", "ben"))
        from_code = declare().using(user=anna).enqueue(subject="Tea", password="opensesame")
        annas = declare().using(user=anna, origin="admin").enqueue(subject="Tea", password="opensesame")
        for made, by in ((from_code, anna), (from_code, ben), (annas, ben)):
            before = columns(made)
            with pytest.raises(InvalidArguments) as error:
                made.update(subject="Coffee", by=by)
            assert list(error.value.errors) == ["password"]
            assert columns(made) == before
        token = annas.arguments["password"]["$secret"]
        annas.update(subject="Coffee", by=anna)
        annas.update(subject="Water")  # code is trusted
        from_code.update(subject="Water")
        annas.update(run_after=LATER, by=ben)
        assert annas.arguments["password"] == {"$secret": token, "by": str(anna.pk)}
        annas.update(subject="Coffee", password="closesesame", by=ben, origin="admin")
        assert annas.arguments["password"]["by"] == str(ben.pk)

    def test_a_secret_that_takes_the_place_of_another_belongs_to_who_entered_it(self, django_user_model):
        anna, ben = (django_user_model.objects.create_user(name) for name in ("anna", "ben"))
        only = declare(unique=Unique(by=[], on_conflict="replace"))
        job = only.using(user=anna, origin="admin").enqueue(subject="Tea", password="annas")
        only.using(user=ben, origin="admin").enqueue(subject="Tea", password="bens")
        with pytest.raises(InvalidArguments):
            job.update(subject="Annas address", by=anna)
        job.update(subject="Bens address", by=ben)

    @pytest.mark.django_db(transaction=True)
    def test_an_upload_that_is_replaced_goes_once_that_is_certain(self, kept):
        job = declare().enqueue(subject="Tea", file=upload())
        with transaction.atomic():
            job.update(file=upload(b"new"))
            assert kept() == {b"sku,price", b"new"}
        assert kept() == {b"new"}
        with transaction.atomic():
            job.update(file=None)
            transaction.set_rollback(True)
        assert kept() == {b"new"}
        job.refresh_from_db()
        job.update(file=None)
        assert kept() == set()

    def test_an_upload_that_is_gone_is_told(self, kept, tmp_path):
        job = declare().enqueue(subject="Tea", file=upload())
        for path in tmp_path.rglob("*"):
            if path.is_file():
                path.unlink()
        with pytest.raises(InvalidArguments, match="is gone"):
            job.update(subject="Coffee")
        job.update(file=upload(b"new"))

    def test_an_upload_that_belongs_to_a_schedule_is_left_alone(self, kept, django_capture_on_commit_callbacks):
        job = declare().enqueue(subject="Tea", file=upload())
        Job.objects.update(arguments=files.lend(job.arguments, 7))
        with django_capture_on_commit_callbacks(execute=True):
            job.update(file=upload(b"new"))
        assert kept() == {b"sku,price", b"new"}


class TestTime:
    def test_time_and_arguments_change_together(self):
        job = declare().enqueue(subject="Tea")
        old = job.run_after
        job.update(subject="Coffee", run_after=LATER)
        assert (job.status, job.run_after, job.arguments["subject"]) == ("scheduled", LATER, "Coffee")
        details = {"arguments": ["subject"], "before": old.isoformat(), "after": LATER.isoformat()}
        assert entries(job) == [("update", "ok", details)]

    def test_a_time_that_is_past_makes_it_due_at_once(self):
        job = declare().using(run_after=HOUR).enqueue(subject="Tea")
        job.update(run_after=datetime(2001, 1, 1, tzinfo=UTC))
        assert job.status == "new"
        assert claim_ids() == [job.pk]

    def test_a_time_without_a_zone_is_refused(self, kept):
        job = declare().enqueue(subject="Tea")
        before = columns(job)
        with pytest.raises(ValueError, match="zone"):
            job.update(file=upload(), run_after=datetime(2099, 1, 1))
        assert columns(job) == before
        assert kept() == set()


class TestUnique:
    def rule(self, **rule):
        return declare(unique=Unique(**rule))

    @pytest.mark.parametrize(
        "rule", [{"among": "waiting"}, {}, {"period": HOUR}], ids=["waiting", "unfinished", "period"]
    )
    def test_it_is_like_others_by_what_it_has_now(self, rule):
        handler = self.rule(**rule)
        job = handler.enqueue(subject="Tea")
        job.update(subject="Coffee")
        assert handler.enqueue(subject="Coffee").pk == job.pk
        assert not handler.enqueue(subject="Tea").is_existing

    @pytest.mark.parametrize(
        "rule", [{"among": "waiting"}, {}, {"period": HOUR}], ids=["waiting", "unfinished", "period"]
    )
    def test_another_job_like_it_is_named_and_nothing_changes(self, rule, kept):
        handler = self.rule(by="subject", **rule)
        other, job = handler.enqueue(subject="Tea"), handler.enqueue(subject="Coffee")
        before = columns(job)
        with pytest.raises(AlreadyEnqueued) as caught:
            job.update(subject="Tea", file=upload(), run_after=LATER)
        assert caught.value.job.pk == other.pk
        assert columns(job) == before
        assert [entry[:2] for entry in entries(job)] == [("update", "taken")]
        assert kept() == set()
        assert handler.enqueue(subject="Coffee").pk == job.pk

    def test_what_makes_no_difference_to_the_rule_leaves_the_key(self):
        handler = self.rule(by="subject")
        job = handler.enqueue(subject="Tea")
        before = columns(job)
        job.update(copies=4)
        assert changed(before, job) == {"arguments"}

    def test_a_key_that_was_given_stays(self):
        handler = declare()
        job = handler.using(unique_key="nightly").enqueue(subject="Tea")
        job.update(subject="Coffee")
        assert handler.using(unique_key="nightly").enqueue(subject="Cocoa").pk == job.pk

    def test_a_given_key_of_a_type_with_a_rule_stays_too(self):
        handler = self.rule()
        job = handler.using(unique_key="nightly").enqueue(subject="Tea")
        job.update(subject="Coffee")
        assert handler.using(unique_key="nightly").enqueue(subject="Cocoa").pk == job.pk
        assert not handler.enqueue(subject="Coffee").is_existing

    def test_a_period_that_is_over_is_in_nobodys_way(self):
        handler = self.rule(period=HOUR)
        job = handler.using(run_after=LATER).enqueue(subject="Coffee")
        Job.objects.update(unique_until=DatabaseNow(-1))
        other = handler.enqueue(subject="Tea")
        job.update(subject="Tea")
        assert handler.enqueue(subject="Tea").pk == other.pk

    def test_one_that_waits_again_may_not_become_like_one_that_waits(self):
        handler = declare(unique=Unique(among="waiting"), max_attempts=3)
        job = handler.enqueue(subject="Tea")
        (claimed,) = claim("default", wanted())
        other = handler.enqueue(subject="Coffee")
        job.refresh_from_db()
        assert written(leaving(job, "scheduled", delay=60.0)) == {claimed.id}
        with pytest.raises(AlreadyEnqueued):
            job.update(subject="Coffee")
        job.update(subject="Cocoa")
        assert handler.enqueue(subject="Cocoa").pk == job.pk
        assert handler.enqueue(subject="Coffee").pk == other.pk


class TestLimits:
    def test_it_shares_its_limits_by_what_it_has_now(self):
        handler = declare(max_concurrency=1, concurrency_key="subject")
        job, other = handler.enqueue(subject="Tea"), handler.enqueue(subject="Coffee")
        job.update(subject="Coffee")
        assert job.limit_key == other.limit_key != ""

    def test_a_key_that_was_given_stays(self):
        handler = declare(max_concurrency=1, concurrency_key="subject")
        job = handler.using(concurrency_key="mine").enqueue(subject="Tea")
        before = columns(job)
        job.update(subject="Coffee")
        assert changed(before, job) == {"arguments"}

    def test_a_type_that_has_no_limit_any_more_takes_the_key_away(self):
        job = declare(max_concurrency=1, concurrency_key="subject").enqueue(subject="Tea")
        registry.unregister("app.job")
        declare()
        job.update(subject="Coffee")
        assert job.limit_key == ""

    def test_a_rule_that_fails_changes_nothing(self, kept):
        handler = declare(max_concurrency=1, concurrency_key=lambda arguments: 1 // (arguments["copies"] - 7))
        job = handler.enqueue(subject="Tea")
        before = columns(job)
        with pytest.raises(InvalidArguments, match="ZeroDivisionError"):
            job.update(copies=7, file=upload())
        assert columns(job) == before
        assert kept() == set()


class TestDrift:
    """What is stored was made for the form of yesterday."""

    def test_what_is_no_argument_any_more_is_left_out(self):
        handler = declare()
        job = make_job(arguments={"subject": "Tea", "country": "DE"}, fingerprint="yesterday")
        assert not handler.can_start(job)
        job.update(copies=2)
        assert job.arguments == {"subject": "Tea", "copies": 2, "password": {"$secret": ""}, "file": None}
        assert handler.can_start(job)
        assert not handler.arguments.drift(job)
        assert entries(job)[0][2] == {"arguments": ["copies", "country", "password"]}

    def test_what_no_longer_fits_has_to_be_given(self):
        handler = declare()
        job = make_job(arguments={"subject": "Tea", "copies": "many"}, fingerprint="yesterday")
        before = columns(job)
        with pytest.raises(InvalidArguments, match="copies"):
            job.update(subject="Coffee")
        assert columns(job) == before
        job.update(copies=2)
        assert handler.can_start(job)

    def test_a_text_where_a_secret_belongs_is_no_secret(self):
        declare()
        job = make_job(arguments={"subject": "Tea", "password": "opensesame"}, fingerprint="yesterday")
        with pytest.raises(InvalidArguments, match="not a stored secret"):
            job.update(subject="Coffee")

    def test_a_key_by_arguments_that_do_not_fit_is_worked_out_anew(self):
        handler = declare(unique=Unique(by=lambda arguments: arguments["copies"]))
        job = make_job(
            arguments={"subject": "Tea", "copies": "many"},
            unique_key="x" * 64,
            unique_among="unfinished",
            unique_place=0,
        )
        job.update(copies=2)
        assert handler.enqueue(subject="Coffee", copies=2).pk == job.pk


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_it_starts_with_the_new_arguments_or_the_change_is_refused(self):
        declare()
        for _ in range(12):
            made = make_job(arguments={"subject": "Tea"})
            updated, started = race(
                lambda pk=made.pk: Job.objects.get(pk=pk).update(subject="Coffee"), lambda: claim("default", wanted())
            )
            (given,) = [json.loads(each.arguments)["subject"] for each in started] or [None]
            if updated is None:
                assert given in ("Coffee", None)
                assert columns(made)["arguments"]["subject"] == "Coffee"
            else:
                assert isinstance(updated, InvalidTransition)
                assert given == columns(made)["arguments"]["subject"] == "Tea"
            Job.objects.all().erase()

    def test_a_claim_between_reading_and_writing_wins(self, kept):
        handler = declare()
        made = handler.enqueue(subject="Tea")
        dumped = handler.arguments.change(made.arguments, {"subject": "Coffee", "file": upload()})
        assert claim_ids() == [made.pk]
        with pytest.raises(InvalidTransition, match="is running"):
            made.update_dumped(dumped)
        assert columns(made)["arguments"]["subject"] == "Tea"
        assert kept() == set()

    def test_two_who_change_different_arguments_both_get_what_they_asked_for(self):
        made = declare().enqueue(subject="Tea")
        outcomes = race(
            lambda: Job.objects.get(pk=made.pk).update(subject="Coffee"),
            lambda: Job.objects.get(pk=made.pk).update(copies=7),
        )
        assert outcomes == [None, None]
        assert {**columns(made)["arguments"], "password": None} == {
            "subject": "Coffee", "copies": 7, "password": None, "file": None,
        }  # fmt: skip

    def test_who_read_other_arguments_is_told_and_leaves_no_upload(self, kept):
        handler = declare()
        made = handler.enqueue(subject="Tea", file=upload())
        dumped = handler.arguments.change(made.arguments, {"copies": 2, "file": upload(b"late")})
        Job.objects.get(pk=made.pk).update(file=upload(b"new"))
        before = columns(made)
        with pytest.raises(ChangedMeanwhile):
            made.update_dumped(dumped)
        assert columns(made) == before
        assert kept() == {b"new"}

    def test_who_read_another_time_is_told_and_moves_nothing(self):
        made, moved = declare().using(run_after=LATER).enqueue(subject="Tea"), LATER + HOUR
        Job.objects.get(pk=made.pk).reschedule(moved)
        with pytest.raises(ChangedMeanwhile, match="another time"):
            made.update_dumped(made.arguments, run_after=LATER + 2 * HOUR)
        assert columns(made)["run_after"] == moved

    def test_a_token_counts_once(self, kept):
        handler = declare()
        made = handler.enqueue(subject="Tea")

        def save():
            copy = Job.objects.get(pk=made.pk)
            dumped = handler.arguments.change(copy.arguments, {"subject": "Coffee", "file": upload()})
            return copy.update_dumped(dumped, token="7.abc")

        assert [save(), save()] == [True, False]
        assert len(entries(made)) == 1
        assert len(kept()) == 1

    def test_of_two_who_would_become_alike_one_does(self):
        handler = declare(unique=Unique(by="subject"))
        for number in range(6):
            jobs = [handler.enqueue(subject=f"{number} {name}") for name in ("a", "b")]
            outcomes = race(*[
                lambda pk=each.pk, number=number: Job.objects.get(pk=pk).update(subject=f"{number} c") for each in jobs
            ])  # fmt: skip
            assert sorted(map(type, outcomes), key=str) == [type(None), AlreadyEnqueued]

    def test_one_that_is_enqueued_at_the_same_time_is_the_only_one_or_not_there(self):
        handler = declare(unique=Unique(by="subject"))
        for number in range(6):
            made = handler.enqueue(subject=f"{number} a")
            updated, other = race(
                lambda pk=made.pk, number=number: Job.objects.get(pk=pk).update(subject=f"{number} b"),
                lambda number=number: handler.enqueue(subject=f"{number} b"),
            )
            if updated is None:
                assert other.pk == made.pk
            else:
                assert isinstance(updated, AlreadyEnqueued)
                assert updated.job.pk == other.pk != made.pk
