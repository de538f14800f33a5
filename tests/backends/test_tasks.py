"""Tasks of ``django.tasks`` (or its backport) as jobs: the framework's contract, and what is ours beside it."""

import datetime as dt
import json
import sys
from functools import partial
from typing import Annotated

import django
import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.forms import PasswordInput, TextInput
from django.utils import timezone
from django.views.debug import ExceptionReporter

from qorworker import Arg, Secret
from qorworker.attempts.in_process import run_stored
from qorworker.compat import InvalidTask, TaskResultDoesNotExist, task_backends
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidArguments, JobCancelled
from qorworker.models import Job
from qorworker.testing.task_backends import TaskBackendContract, heard
from tests.admin.filled_in import filled_in
from tests.admin.test_secrets import out_of_order
from tests.support import log_of
from tests.testapp import jobs
from tests.testapp import tasks as documented
from tests.testapp.models import Shop
from tests.testapp.tasks import task as qor_task

OURS = {"BACKEND": "qorworker.backends.tasks.QorWorkerBackend"}


@pytest.fixture
def tasks_settings(settings):
    settings.TASKS = {"default": dict(OURS)}


class TestQorWorkerBackend(TaskBackendContract):
    """In this very process, so that the signals of whoever supervises a job are heard."""

    accepts_timedelta = True
    is_strict = True

    @pytest.fixture
    def running(self, tasks_settings):
        return

    def drain(self):
        Job.objects.promote_due()
        for job in Job.objects.queued():
            run_stored(job.pk, "default", worker_name="this process")


# What Django's documentation shows runs as it stands there.


@pytest.fixture
def in_process(transactional_db, tasks_settings):
    """Runs what waits, here."""

    def drain():
        for job in Job.objects.queued().order_by("-priority", "id"):
            run_stored(job.pk, "default", worker_name="this process")

    return drain


MAIL = {"emails": ["user@example.com"], "subject": "You have a message", "message": "Hello there!"}


@pytest.mark.parametrize(
    "task", [documented.email_users, documented.email_users_soon, documented.email_users_in_context]
)
def test_documented_mails_are_sent(in_process, mailoutbox, task):
    result = task.enqueue(**MAIL)
    assert (result.status, mailoutbox) == ("READY", [])
    in_process()
    result.refresh()
    assert (result.status, result.return_value) == ("SUCCESSFUL", 1)
    assert [mail.subject for mail in mailoutbox] == ["You have a message"]
    assert task.get_result(result.id).return_value == 1


def test_documented_changes_of_a_task(tasks_settings):
    assert documented.email_users.priority == 0
    assert documented.email_users.using(priority=10).priority == 10


def test_documented_attempt_number_in_the_log(in_process, mailoutbox):
    result = documented.email_users_in_context.enqueue(**MAIL)
    in_process()
    assert log_of(Job.objects.get()) == [f"Attempt 1 to send user email. Task result id: {result.id}."]


def test_documented_arguments_that_json_cannot_carry(in_process):
    with pytest.raises(TypeError):
        documented.double_dictionary.enqueue(dt.datetime(2030, 1, 1))
    result = documented.double_dictionary.enqueue((1, 2, 3))
    in_process()
    result.refresh()
    assert result.status == "FAILED"
    assert "unhashable type: 'list'" in result.errors[0].traceback


def test_documented_transactions(in_process):
    with transaction.atomic():
        Shop.objects.create(name="Berlin")
        transaction.on_commit(partial(documented.shop_exists.enqueue, shop_name="Berlin"))
    in_process()
    assert task_backends["default"].get_result(str(Job.objects.get().pk)).return_value == "Berlin"


def test_documented_values_and_errors(in_process):
    result = documented.shop_exists.enqueue("nowhere")
    with pytest.raises(ValueError, match="Task has not finished yet"):
        _ = result.return_value
    in_process()
    result.refresh()
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value
    assert result.errors[0].exception_class is Shop.DoesNotExist


# Tasks in the admin.


def test_a_task_is_a_job_type_with_a_form(in_process):
    documented.typed.using()
    job_type = registry.get("tests.testapp.tasks.typed")
    assert job_type.arguments.problems() == {}
    assert (job_type.title, job_type.description) == ("Typed", "Takes what JSON cannot carry, if a form gives it.")
    fields = job_type.arguments.fields
    assert list(fields) == ["when", "factor", "rest", "note", "unknown"]
    assert [type(field).__name__ for field in fields.values()][:2] == ["DateTimeField", "DecimalField"]
    assert fields["when"].required
    assert not fields["note"].required


def test_a_form_gives_types_and_code_gives_json(in_process):
    documented.typed.using()
    job_type = registry.get("tests.testapp.tasks.typed")
    form = job_type.arguments.form_class(
        {"when_0": "2030-01-01", "when_1": "12:00", "factor": "2.5", "rest": "[1, 2]", "note": '"hello"'}
    )
    assert form.is_valid(), form.errors
    by_form = job_type.enqueue_cleaned(form.cleaned_data)
    by_code = documented.typed.enqueue("2030-01-01", "2.5", 1, 2, note="hello")
    by_name = documented.typed.enqueue(when="2030-01-01")
    in_process()
    returned = [
        task_backends["default"].get_result(str(pk)).return_value for pk in (by_form.pk, by_code.id, by_name.id)
    ]
    assert returned == [
        "datetime Decimal [1, 2] hello None",
        "str str [1, 2] hello None",
        "str Decimal [] None None",
    ]
    assert task_backends["default"].get_result(by_code.id).args == ["2030-01-01", "2.5", 1, 2]
    shown = {one.name: one.text for one in job_type.arguments.display(by_form.arguments)}
    assert shown["factor"] == "2.5"
    assert "*" not in {one.name for one in job_type.arguments.display(Job.objects.get(pk=by_code.id).arguments)}


def test_the_job_type_of_a_task_can_be_bound(in_process):
    documented.typed.using()
    call = registry.get("tests.testapp.tasks.typed").bind("2030-01-01T12:00", "2.5", rest=[1, 2])
    assert not Job.objects.exists()
    made = call.enqueue()
    in_process()
    result = task_backends["default"].get_result(str(made.pk))
    assert result.return_value == "datetime Decimal [1, 2] None None"


def test_a_task_is_run_again_with_the_same_call(in_process):
    result = documented.typed.enqueue("2030-01-01", "2.5", 7)
    job = Job.objects.get()
    job.rerun()
    in_process()
    again = task_backends["default"].get_result(str(Job.objects.exclude(pk=job.pk).get().pk))
    assert (again.args, again.return_value) == (result.args, "str str [7] None None")


def test_a_task_that_waits_is_changed(in_process, admin_client):
    documented.positional.enqueue(1, second=2)
    job = Job.objects.get()
    job.update(second=5)
    page = admin_client.get(f"/admin/qorworker/job/{job.pk}/update/")
    assert page.context["filled"].notes == []
    sent = {**filled_in(page), "first": "4"}
    assert admin_client.post(f"/admin/qorworker/job/{job.pk}/update/", sent).status_code == 302
    in_process()
    assert Job.objects.get().result == [4, 5, 3]


def test_how_a_task_was_called_is_no_argument_that_is_gone(in_process, admin_client):
    documented.positional.enqueue(1, second=2)
    page = admin_client.get(f"/admin/qorworker/job/{Job.objects.get().pk}/update/")
    assert page.context["filled"].notes == ["The field “third” is new."]


def test_a_positional_parameter_is_passed_by_position(in_process):
    result = documented.positional.enqueue(1, second=2)
    registry.get("tests.testapp.tasks.positional").enqueue(first=4, second=5)
    in_process()
    found = [task_backends["default"].get_result(str(job.pk)) for job in Job.objects.order_by("id")]
    assert [one.return_value for one in found] == [[1, 2, 3], [4, 5, 3]]
    assert (found[0].args, found[0].kwargs, found[0].id) == ([1], {"second": 2}, result.id)


def test_the_pages_of_a_task(in_process, admin_client, tmp_path):
    telling = documented.telling
    result = telling.enqueue(str(tmp_path / "told"))
    in_process()
    page = admin_client.get(f"/admin/qorworker/job/{result.id}/change/", follow=True).content.decode()
    assert "by the job&#x27;s context" in page
    catalogue = admin_client.get("/admin/qorworker/job/catalogue/", follow=True).content.decode()
    assert "Telling" in catalogue
    form = admin_client.get("/admin/qorworker/job/run/tests.testapp.tasks.telling/", follow=True).content.decode()
    assert 'name="path"' in form
    assert 'name="context"' not in form


def test_a_cancelled_task_has_failed(in_process):
    result = documented.email_users.using(run_after=timezone.now() + dt.timedelta(days=1)).enqueue(**MAIL)
    assert result.status == "READY"
    Job.objects.get().cancel()
    result.refresh()
    assert (result.status, result.errors[0].exception_class) == ("FAILED", JobCancelled)


def test_the_end_of_a_task_that_is_cancelled_is_told(in_process):
    result = documented.email_users.using(run_after=timezone.now() + dt.timedelta(days=1)).enqueue(**MAIL)
    with heard() as events:
        Job.objects.get().cancel()
    assert [(name, sender, id, status) for name, sender, id, status in events] == [
        ("finished", type(task_backends["default"]), result.id, "FAILED")
    ]


# Options of ours, where the framework passes them on.


def only_once(number):
    return number


@pytest.mark.skipif(django.VERSION[:2] == (6, 0), reason="Django 6.0 passes no options on")
def test_a_task_can_be_unique(in_process):
    made = qor_task(unique=True)(only_once)
    with heard() as events:
        first, second = made.enqueue(1), made.enqueue(number=1)
    assert first.id == second.id
    assert [(name, id) for name, _sender, id, _status in events] == [("enqueued", first.id)]
    assert made.enqueue(2).id != first.id


def test_options_of_a_job_on_a_task(in_process):
    if django.VERSION[:2] == (6, 0):
        with pytest.raises(TypeError):
            qor_task(max_attempts=3)(documented.email_users.func)
        return
    made = qor_task(max_attempts=3, timeout=60, group="Mail", backoff=lambda attempt: 0)(flaky)
    job_type = registry.get(made.module_path)
    assert (job_type.max_attempts, job_type.timeout, str(job_type.group)) == (3, 60, "Mail")
    assert made.using(priority=5).max_attempts == 3
    result = made.enqueue()
    for _ in range(3):
        Job.objects.promote_due()
        in_process()
    result.refresh()
    assert (result.status, result.attempts, result.return_value) == ("SUCCESSFUL", 3, "attempt 3")
    assert [error.exception_class for error in result.errors] == [ValueError, ValueError]
    with pytest.raises(InvalidTask, match="max_attempts"):
        qor_task(max_attempts=0)(other)


def other():
    """Never called."""


attempts = iter(range(1, 9))


def flaky():
    number = next(attempts)
    if number < 3:
        raise ValueError(number)
    return f"attempt {number}"


def test_checks_name_queues_and_options_that_are_not_there(settings):
    settings.TASKS = {"default": {**OURS, "QUEUES": ["nowhere"], "OPTIONS": {"colour": "red"}}}
    assert [message.id for message in task_backends["default"].check()] == ["qorworker.E021", "qorworker.E022"]


def test_a_job_that_is_no_task_has_no_result(in_process):
    job = jobs.noop.enqueue()
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(str(job.pk))


def test_a_task_whose_code_is_gone_has_failed_and_the_next_one_runs(in_process, mailoutbox):
    gone = documented.email_users.enqueue(**MAIL)
    Job.objects.update(name="tests.testapp.tasks.no_such_task")
    documented.email_users.enqueue(**MAIL)
    in_process()
    job = Job.objects.get(pk=gone.id)
    assert (job.status, job.attempts.get().outcome, len(mailoutbox)) == ("exception", "refused", 1)
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(gone.id)


# A queue that runs tasks where they are enqueued.

IMMEDIATE = {"default": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"}}


@pytest.fixture
def immediate(transactional_db, settings, tasks_settings):
    settings.QORWORKER = {**settings.QORWORKER, "QUEUES": IMMEDIATE}


def test_an_immediate_task_is_enqueued_before_it_starts_and_returned_as_it_ended(immediate):
    Shop.objects.create(name="Berlin")
    with heard() as signals:
        result = documented.shop_exists.enqueue("Berlin")
    assert [name for name, *_rest in signals] == ["enqueued", "started", "finished"]
    assert (result.status, result.return_value) == ("SUCCESSFUL", "Berlin")


def test_an_immediate_task_in_a_transaction_waits_for_its_end(immediate):
    Shop.objects.create(name="Berlin")
    with transaction.atomic():
        result = documented.shop_exists.enqueue("Berlin")
        assert result.status == "READY"
    result.refresh()
    assert result.status == "SUCCESSFUL"


@pytest.mark.parametrize("changes", [{"run_after": timezone.now() + dt.timedelta(hours=1)}, {"queue_name": "nowhere"}])
def test_what_the_queue_cannot_do_is_an_invalid_task_and_stores_nothing(immediate, changes):
    with pytest.raises(InvalidTask):
        documented.shop_exists.using(**changes).enqueue("Berlin")
    assert not Job.objects.exists()


@qor_task
def signs_in(user, password: Secret[str], pin: Secret[str] | None = None):
    text = password.get_secret_value()
    return [user, type(password).__name__, text == "opensesame", text, pin]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by_position", [True, False])
def test_a_secret_that_code_passes_is_encrypted_masked_and_erased(tasks_settings, by_position):
    result = signs_in.enqueue("ben", "opensesame") if by_position else signs_in.enqueue("ben", password="opensesame")
    job = Job.objects.get()
    assert "opensesame" not in json.dumps(job.arguments)
    assert "opensesame" not in repr((result.args, result.kwargs))
    assert job.arguments["user"] == "ben"
    run_stored(job.pk, "default", worker_name="this process")
    result.refresh()
    assert result.return_value == ["ben", "Secret", True, "••••••", None]
    assert Job.objects.get().arguments["password"] == {"$secret": None}


def in_a_coroutine(*args, **kwargs):
    return async_to_sync(signs_in.aenqueue)(*args, **kwargs)


@pytest.mark.django_db
@pytest.mark.parametrize("enqueue", [signs_in.enqueue, in_a_coroutine])
@pytest.mark.parametrize("by_position", [True, False])
def test_the_report_of_an_error_at_enqueueing_does_not_have_the_secret(
    tasks_settings, monkeypatch, enqueue, by_position
):
    monkeypatch.setattr("qorworker.arguments.secrets._ring", out_of_order)
    try:
        enqueue("ben", "opensesame") if by_position else enqueue("ben", password="opensesame")
    except RuntimeError:
        frames = ExceptionReporter(None, *sys.exc_info()).get_traceback_frames()
    ours = [frame for frame in frames if frame["filename"] != __file__]  # those of the caller are the caller's
    assert ours[-1]["function"] == "out_of_order"
    assert [(frame["function"], frame["vars"]) for frame in ours if "opensesame" in str(frame["vars"])] == []


@pytest.mark.django_db
@pytest.mark.parametrize("value", [7, {"$secret": "planted"}, ["opensesame"]])
def test_a_secret_that_is_no_string_is_refused(tasks_settings, value):
    with pytest.raises(InvalidArguments):
        signs_in.enqueue("ben", password=value)
    assert not Job.objects.exists()


def in_a_list(keys: list[Secret[str]]):
    pass


def in_a_dict(keys: dict[str, Secret[str]]):
    pass


def as_a_choice(key: Annotated[Secret[str], Arg(choices=["opensesame", "abracadabra"])]):
    pass


def beside_others(key: Secret[str] | int):
    pass


def by_any_name(**keys: Secret[str]):
    pass


def as_a_number(pin: Annotated[int, Arg(widget=PasswordInput)]):
    pass


def as_a_text(keys: "list[Secret[str]]"):
    pass


class OwnPassword(TextInput):
    input_type = "password"


def with_an_own_input(pin: Annotated[int, Arg(widget=OwnPassword)]):
    pass


class Pin(PasswordInput):
    pass


def with_a_kind_of_that_input(pin: Annotated[int, Arg(widget=Pin)]):
    pass


class Token(Secret[str]):
    pass


def of_an_own_class(*keys: Token):
    pass


@pytest.mark.django_db
@pytest.mark.parametrize(
    "function",
    [
        in_a_list,
        in_a_dict,
        as_a_choice,
        beside_others,
        by_any_name,
        as_a_number,
        as_a_text,
        with_an_own_input,
        with_a_kind_of_that_input,
        of_an_own_class,
    ],
)
def test_a_secret_that_cannot_be_encrypted_makes_an_invalid_task(tasks_settings, function):
    with pytest.raises(InvalidTask, match="secret"):
        qor_task(function)
