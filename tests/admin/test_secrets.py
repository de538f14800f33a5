"""A secret on its way through the pages: never in an address, never in a page, never in the report of an error."""

from __future__ import annotations

import sys
from typing import Annotated

import pytest
from asgiref.sync import async_to_sync
from django import forms
from django.core.signals import got_request_exception
from django.test import Client
from django.urls import reverse
from django.views.debug import ExceptionReporter

import qorworker
from qorworker import Arg, Every, Plan, Schedule, Secret
from qorworker.arguments import secrets
from qorworker.models import Job
from qorworker.text.masking import MASK
from tests.admin.support import BASE, in_state, page_of, stored_by, text_of
from tests.admin.test_run_form import token_of
from tests.admin.test_schedules import DAILY

pytestmark = [pytest.mark.django_db, pytest.mark.once]

CANARY = "c4n4ry"


def key_pair(key: Annotated[Secret[str], Arg(widget=forms.Textarea)], number: int = 1) -> None:
    """Its secret has many lines."""


@pytest.fixture
def url(types):
    qorworker.job(name="tests.key_pair")(key_pair)
    return BASE + "run/tests.key_pair/"


def test_a_secret_in_any_widget_is_never_filled_in_from_a_link(url, visitor):
    page = text_of(visitor.get(f"{url}?key={CANARY}"))
    assert CANARY not in page
    assert "is never filled in from a link" in page


def test_a_secret_in_any_widget_is_asked_for_again_after_an_error(url, visitor):
    form = {"qw-token": token_of(visitor, url), "qw-when": "now", "key": CANARY, "number": "x"}
    page = text_of(visitor.post(url, form))
    assert "Enter a whole number." in page
    assert CANARY not in page
    assert visitor.post(url, {**form, "number": "1"}).status_code == 302


class Pair(forms.MultiWidget):
    """Two inputs, of which the first is the value."""

    def __init__(self):
        super().__init__([forms.PasswordInput(render_value=True), forms.TextInput])

    def decompress(self, value):
        return [value, ""]

    def value_from_datadict(self, data, files, name):
        return data.get(name)


@pytest.mark.parametrize("page", ["run", "schedule", "change"])
@pytest.mark.parametrize(
    "widget", [forms.PasswordInput(render_value=True), forms.TextInput(attrs={"type": "password"}), Pair()]
)
def test_a_secret_does_not_come_back_whatever_the_widget_of_a_given_form_says(types, visitor, page, widget):
    class Form(forms.Form):
        number = forms.IntegerField()
        password = forms.CharField(widget=widget)

    @qorworker.job(name="tests.renders", form=Form)
    def renders(number: int, password: str) -> None: ...

    made = in_state(renders, "new", arguments={"number": 1, "password": {"$secret": secrets.encrypt("before")}})
    url = {
        "run": BASE + "run/tests.renders/",
        "schedule": reverse("admin:qorworker_schedule_add") + "?job=tests.renders",
        "change": page_of(made, "update/"),
    }[page]
    form = {"qw-token": token_of(visitor, BASE + "run/tests.renders/"), **DAILY, "number": "x", "password": CANARY}
    answer = text_of(visitor.post(url, form))
    assert "Enter a whole number." in answer
    assert CANARY not in answer


@pytest.mark.parametrize("page", ["run", "schedule", "change", "edit"])
def test_a_secret_is_in_no_hidden_field_that_django_adds_for_a_callable_default(types, visitor, page):
    class Form(forms.Form):
        number = forms.IntegerField()
        password = forms.CharField(
            widget=forms.PasswordInput, initial=lambda: f"{CANARY} of the code", show_hidden_initial=True
        )

    @qorworker.job(name="tests.has_default", form=Form)
    def has_default(number: int, password: str) -> None: ...

    given = {"number": 1, "password": {"$secret": secrets.encrypt("before")}}
    made = in_state(has_default, "new", arguments=given)
    schedule = Schedule.objects.create_dumped(has_default, Plan(Every(hours=1), name="s"), given)
    url = {
        "run": BASE + "run/tests.has_default/",
        "schedule": reverse("admin:qorworker_schedule_add") + "?job=tests.has_default",
        "change": page_of(made, "update/"),
        "edit": reverse("admin:qorworker_schedule_edit", args=(schedule.pk,)),
    }[page]
    assert CANARY not in text_of(visitor.get(url))
    form = {"qw-token": token_of(visitor, BASE + "run/tests.has_default/"), **DAILY, "number": "x", "password": CANARY}
    answer = text_of(visitor.post(url, form))
    assert "Enter a whole number." in answer
    assert CANARY not in answer


@pytest.mark.parametrize("page", ["run", "save", "schedule", "change", "edit"])
def test_no_error_of_a_form_quotes_a_secret_that_was_typed(types, visitor, root, page):
    def refuse(value):
        raise forms.ValidationError(f"{value!r} is no good")

    class Form(forms.Form):
        host = forms.CharField()
        password = forms.CharField(widget=forms.PasswordInput, validators=[refuse])

        def clean(self):
            self.add_error("host", f"not with {self.data['password']}")
            raise forms.ValidationError(["%(first)s", "second"], params={"first": self.data["password"]})

    @qorworker.job(name="tests.strict", form=Form)
    def strict(host: str, password: str) -> None: ...

    given = {"host": "a", "password": {"$secret": secrets.encrypt("before"), "by": str(root.pk)}}
    made = in_state(strict, "new", arguments=given)
    schedule = Schedule.objects.create_dumped(strict, Plan(Every(hours=1), name="s"), given)
    url = {
        "run": BASE + "run/tests.strict/",
        "save": BASE + "run/tests.strict/save/",
        "schedule": reverse("admin:qorworker_schedule_add") + "?job=tests.strict",
        "change": page_of(made, "update/"),
        "edit": reverse("admin:qorworker_schedule_edit", args=(schedule.pk,)),
    }[page]
    typed = '  it\'s "<c4n4ry>"  '
    form = {"qw-token": token_of(visitor, BASE + "run/tests.strict/"), **DAILY, "host": "b", "password": typed}
    answer = text_of(visitor.post(url, form))
    assert "c4n4ry" not in answer
    if page != "save":  # what is never saved is not checked
        assert f"&#x27;{MASK}&#x27; is no good" in answer or f"{MASK} is no good" in answer
        assert f"not with {MASK}" in answer


def out_of_order(*args, **kwargs):
    raise RuntimeError("out of order")


def report(request=None):
    """What Django would mail to the administrators: the variables of each frame, and what was posted."""
    reporter = ExceptionReporter(request, *sys.exc_info())
    frames = [(frame["function"], frame["vars"]) for frame in reporter.get_traceback_frames()]
    return f"{reporter.exc_value} {frames} {list(reporter.get_traceback_data()['filtered_POST_items'])}"


def enqueue_one(job_type):
    job_type.enqueue(password=CANARY)


def enqueue_many(job_type):
    job_type.enqueue_many([{"password": CANARY}])


def enqueue_in_a_coroutine(job_type):
    async_to_sync(job_type.aenqueue)(password=CANARY)


def enqueue_raw(job_type):
    job_type.enqueue_raw({"password": CANARY})


def enqueue_raw_in_a_coroutine(job_type):
    async_to_sync(job_type.aenqueue_raw)({"password": CANARY})


def enqueue_a_call(job_type):
    job_type.bind(password=CANARY).enqueue()


def enqueue_a_call_in_a_coroutine(job_type):
    async def enqueue():
        await (await job_type.abind(password=CANARY)).aenqueue()

    async_to_sync(enqueue)()


def run_again(job_type):
    Job(name=job_type.name, arguments={"password": {"$secret": "token"}}).rerun(password=CANARY)


def schedule_it(job_type):
    Schedule.objects.create_for(job_type, Every(hours=1), {"password": CANARY})


@pytest.mark.parametrize(
    "enqueue",
    [
        enqueue_one, enqueue_many, enqueue_in_a_coroutine, enqueue_raw, enqueue_raw_in_a_coroutine, enqueue_a_call,
        enqueue_a_call_in_a_coroutine, run_again, schedule_it,
    ],
)  # fmt: skip
def test_the_report_of_an_error_at_enqueueing_does_not_have_it(types, monkeypatch, enqueue):
    monkeypatch.setattr("qorworker.arguments.secrets._ring", out_of_order)
    try:
        enqueue(types["log_in"])
    except RuntimeError:
        text = report()
    assert "out of order" in text
    assert CANARY not in text


def run_page(types, root):
    return BASE + "run/tests.log_in/", "qorworker.arguments.secrets._ring"


def save_page(types, root):
    return BASE + "run/tests.log_in/save/", "qorworker.admin.jobs.presets._collect"


def change_page(types, root):
    given = stored_by(root, types["log_in"], password="before")
    return page_of(
        in_state(types["log_in"], "new", arguments=given), "update/"
    ), "qorworker.admin.jobs.update.revision_of"


def schedule_page(types, root):
    return reverse("admin:qorworker_schedule_add") + "?job=tests.log_in", "qorworker.arguments.secrets._ring"


def preview_page(types, root):
    url = reverse("admin:qorworker_schedule_preview", args=("tests.log_in",))
    return url, "qorworker.admin.schedules.form.ScheduleForm"


def edit_page(types, root):
    schedule = Schedule.objects.create_for(types["log_in"], Every(hours=1), {"password": "before"})
    return reverse("admin:qorworker_schedule_edit", args=(schedule.pk,)), "qorworker.arguments.secrets._ring"


@pytest.mark.parametrize("door", [run_page, save_page, change_page, schedule_page, preview_page, edit_page])
def test_the_report_of_an_error_on_the_page_does_not_have_it(types, root, monkeypatch, door):
    types["log_in"].schedulable = True
    visitor = Client(raise_request_exception=False)
    visitor.force_login(root)
    url, target = door(types, root)
    token = token_of(visitor, BASE + "run/tests.log_in/")
    seen = []

    def note(sender, request, **named):
        seen.append(report(request))

    form = {"qw-token": token, "qw-when": "now", **DAILY, "qw-revision": "1", "user_name": "ben", "password": CANARY}
    monkeypatch.setattr(target, out_of_order)
    got_request_exception.connect(note)
    try:
        answer = visitor.post(url, form)
    finally:
        got_request_exception.disconnect(note)
    assert answer.status_code == 500
    assert "out of order" in seen[0]
    assert CANARY not in seen[0]


def test_the_report_of_an_error_in_a_template_does_not_have_it(types, root):
    class Password(forms.PasswordInput):
        get_context = out_of_order

    class Form(forms.Form):
        number = forms.IntegerField()
        password = forms.CharField(widget=Password)

    @qorworker.job(name="tests.renders", form=Form)
    def renders(number: int, password: str) -> None: ...

    visitor = Client(raise_request_exception=False)
    visitor.force_login(root)
    seen = []

    def note(sender, request, **named):
        seen.append(report(request))

    got_request_exception.connect(note)
    try:
        answer = visitor.post(BASE + "run/tests.renders/", {"number": "x", "password": CANARY})
    finally:
        got_request_exception.disconnect(note)
    assert answer.status_code == 500
    assert "out of order" in seen[0]
    assert CANARY not in seen[0]


@pytest.mark.parametrize("door", [run_page, save_page, change_page, schedule_page, preview_page, edit_page])
def test_the_report_of_an_error_before_the_page_does_not_have_it(types, root, monkeypatch, door):
    types["log_in"].schedulable = True
    visitor = Client(raise_request_exception=False)
    visitor.force_login(root)
    url, _target = door(types, root)
    seen = []

    def note(sender, request, **named):
        seen.append(report(request))

    monkeypatch.setattr("django.contrib.admin.AdminSite.has_permission", out_of_order)  # it asks the database
    got_request_exception.connect(note)
    try:
        answer = visitor.post(url, {"user_name": "ben", "password": CANARY})
    finally:
        got_request_exception.disconnect(note)
    assert answer.status_code == 500
    assert "out of order" in seen[0]
    assert CANARY not in seen[0]
