"""The decorator, its options, and the place where job types are looked up."""

import copy
import dataclasses
import datetime as dt
import functools
import importlib
import inspect
import pickle
import re
import subprocess
import sys
from decimal import Decimal
from typing import Any, get_args, get_type_hints

import pytest
from django import forms
from django.db import transaction
from django.db.models import Model
from django.utils.translation import gettext_lazy

import qorworker
from qorworker import JobContext, JobType, job
from qorworker.definitions.options import ENQUEUE_NAMES, NAMES, EnqueueOptions, FormJobOptions, Options
from qorworker.definitions.registry import Registry, registry
from qorworker.exceptions import JobTypeError, UnknownJobType
from tests.job_types import own_types  # noqa: F401
from tests.testapp.models import Shop

pytestmark = pytest.mark.usefixtures("own_types")


async def in_a_coroutine(user, job_type, action):
    return False


def test_a_bare_decorator_is_enough():
    @job
    def send_newsletter(subject: str):
        """Sends it."""
        return subject.upper()

    assert isinstance(send_newsletter, JobType)
    assert (send_newsletter.name, send_newsletter.title) == ("test_registry.send_newsletter", "Send newsletter")
    assert (send_newsletter.group, send_newsletter.description) == ("", "Sends it.")
    assert registry.get("test_registry.send_newsletter") is send_newsletter


def test_calling_the_type_calls_the_function():
    @job
    def double(number: int):
        return number * 2

    assert double(21) == 42
    assert double(number=2) == 4
    assert double.__name__ == "double"
    assert double.__doc__ is None


def test_a_job_belongs_to_the_app_of_its_module():
    from tests.testapp.jobs import noop

    assert noop.name == "testapp.noop"


def test_options_are_attributes():
    def may_run(user, job_type, action):
        return True

    @job(
        name="shop: import", title=gettext_lazy("Import"), group="Catalogue", queue_name="mail", priority=-5,
        max_attempts=3, backoff="linear", timeout=dt.timedelta(minutes=30), memory_limit=10**9, permission=may_run,
        schedulable=False, isolation="process", atomic=True, confirm="Really?", on_row_errors="done", form=Shop,
    )  # fmt: skip
    def handler(name):
        pass

    assert (handler.name, str(handler.title), handler.group) == ("shop: import", "Import", "Catalogue")
    assert (handler.queue_name, handler.priority, handler.max_attempts) == ("mail", -5, 3)
    assert (handler.timeout, handler.memory_limit) == (1800.0, 10**9)
    assert (handler.permission, handler.schedulable, handler.isolation) == (may_run, False, "process")
    assert (handler.atomic, handler.confirm, handler.on_row_errors, handler.form) == (True, "Really?", "done", Shop)


def test_the_defaults_are_the_careful_ones():
    @job
    def handler(context: JobContext):
        pass

    assert (handler.max_attempts, handler.timeout, handler.memory_limit) == (1, None, None)
    assert (handler.queue_name, handler.priority, handler.permission) == ("default", 0, None)
    assert (handler.schedulable, handler.isolation, handler.atomic) == (True, "warm", False)
    assert (handler.confirm, handler.on_row_errors, handler.context_parameter) == ("", "exception", "context")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", ""),
        ("name", "a" * 201),
        ("name", "a/b"),
        ("name", "a\nb"),
        ("name", " a"),
        ("title", 5),
        ("group", None),
        ("form", dict),
        ("form", forms.Form()),
        ("queue_name", ""),
        ("priority", 101),
        ("priority", -101),
        ("priority", True),
        ("priority", 1.5),
        ("max_attempts", 0),
        ("max_attempts", 101),
        ("backoff", "sometimes"),
        ("backoff", 5),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", float("inf")),
        ("timeout", "1h"),
        ("timeout", True),
        ("memory_limit", 0),
        ("memory_limit", "1G"),
        ("permission", 5),
        ("permission", in_a_coroutine),
        ("schedulable", 1),
        ("isolation", "thread"),
        ("max_concurrency", 0),
        ("max_concurrency", True),
        ("max_concurrency", "2"),
        ("rate_limit", "10"),
        ("rate_limit", "10/w"),
        ("rate_limit", "0/m"),
        ("rate_limit", "20000/d"),
        ("rate_limit", (10, 60)),
        ("rate_limit", (1.5, dt.timedelta(minutes=1))),
        ("rate_limit", (10, dt.timedelta(days=2))),
        ("rate_limit", (10, dt.timedelta(0))),
        ("concurrency_key", 5),
        ("concurrency_key", [""]),
        ("concurrency_key", "shop"),  # with nothing that is limited
        ("atomic", None),
        ("confirm", True),
        ("on_row_errors", "ignore"),
    ],
)
def test_an_option_that_cannot_work_is_refused_where_it_is_written(option, value):
    with pytest.raises(JobTypeError) as error:

        @job(**{option: value})
        def handler():
            pass

    assert option in str(error.value)
    assert "test_registry.py:" in str(error.value)
    assert not any("handler" in name for name in registry.names())


@pytest.mark.parametrize("atomic", [True, "chunk"])
def test_a_transaction_is_refused_for_a_coroutine_whose_queries_run_in_another_thread(atomic):
    with pytest.raises(JobTypeError, match=r"atomic=.*test_registry.py:.* needs a plain function"):

        @job(atomic=atomic)
        async def handler():
            pass


def test_a_coroutine_may_say_that_it_needs_no_transaction():
    @job(atomic=False, name="test.without_transaction")
    async def handler():
        pass

    assert handler.atomic is False


@pytest.mark.parametrize("option", ["unique", "keep_for", "retries"])
def test_an_option_that_does_not_exist_is_refused(option):
    with pytest.raises(JobTypeError, match=option):
        job(**{option: 1})(lambda: None)


@pytest.mark.parametrize(
    ("function", "typed", "accepted"),
    [(job, FormJobOptions, NAMES), (JobType.using, EnqueueOptions, ENQUEUE_NAMES)],
    ids=["job", "using"],
)
def test_each_option_is_typed_and_described_once(function, typed, accepted):
    described = re.findall(r":param (\w+):", function.__doc__)
    assert sorted(described) == sorted(typed.__annotations__) == sorted(accepted)


def test_each_option_has_a_value_in_every_job_type():
    assert {option.name for option in dataclasses.fields(Options)} == NAMES


def test_options_are_named():
    with pytest.raises((TypeError, JobTypeError)):
        job("name")


@pytest.mark.parametrize("thing", [int, print, Decimal, object()])
def test_only_plain_functions_become_jobs(thing):
    with pytest.raises((JobTypeError, AttributeError)):
        job(thing)


def test_a_generator_would_never_run_and_is_refused():
    def handler():
        yield 1

    with pytest.raises(JobTypeError, match="generator"):
        job(handler)


def test_two_functions_with_one_name_are_refused_and_both_are_named():
    @job(name="shop.import")
    def first():
        pass

    with pytest.raises(JobTypeError) as error:

        @job(name="shop.import")
        def second():
            pass

    assert "first" in str(error.value)
    assert "second" in str(error.value)
    assert str(error.value).count("test_registry.py:") == 2
    assert registry.get("shop.import") is first


def test_the_same_name_twice_in_one_module_is_refused():
    def declare_first():
        @job
        def twice():
            pass

    def declare_second():
        @job
        def twice():
            pass

    declare_first()
    with pytest.raises(JobTypeError, match="Two job types"):
        declare_second()


def test_functions_that_a_decorator_wraps_are_told_apart():
    @job(name="shop.wrapped")
    @transaction.atomic
    def first(shop: "Shop"):
        pass

    assert list(first.arguments.fields) == ["shop"]
    with pytest.raises(JobTypeError, match="Two job types"):

        @job(name="shop.wrapped")
        @transaction.atomic
        def second():
            pass


def test_a_definition_that_is_executed_again_replaces_itself():
    def declare():
        @job
        def again():
            pass

        return again

    declare()
    newest = declare()
    assert registry.get(newest.name) is newest


def test_a_module_that_is_imported_again_replaces_its_job_types(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "reloaded_jobs.py"
    file.write_text("from qorworker import job\n@job\ndef one(): pass\n")
    module = importlib.import_module("reloaded_jobs")
    file.write_text("from qorworker import job\n\n\n@job(title='Changed by an editor')\ndef one(): pass\n")
    importlib.invalidate_caches()
    module = importlib.reload(module)
    assert registry.get("reloaded_jobs.one") is module.one
    assert module.one.title == "Changed by an editor"
    del sys.modules["reloaded_jobs"]
    module = importlib.import_module("reloaded_jobs")
    assert registry.get("reloaded_jobs.one") is module.one


def test_a_module_with_one_function_name_twice_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "doubled_jobs.py").write_text("from qorworker import job\n@job\ndef a(): pass\n@job\ndef a(): pass\n")
    with pytest.raises(JobTypeError, match=r"doubled_jobs\.py:2.*doubled_jobs\.py:4"):
        importlib.import_module("doubled_jobs")


def test_an_unknown_name_is_told():
    with pytest.raises(UnknownJobType) as error:
        registry.get("os.system")
    assert error.value.name == "os.system"
    assert registry.find("os.system") is None


def test_types_are_listed_by_group_and_title_those_without_a_group_first():
    own = Registry()
    for name, group in [("b", "Shop"), ("a", "shop"), ("c", ""), ("d", "Mail")]:
        own.register(JobType(lambda: None, {"name": name, "title": name, "group": group}))
    assert [job_type.name for job_type in own.all()] == ["c", "d", "a", "b"]
    assert own.names() == ["a", "b", "c", "d"]


def test_a_type_can_be_taken_out_again():
    @job
    def handler():
        pass

    registry.unregister(handler.name)
    assert registry.find(handler.name) is None
    registry.unregister(handler.name)


def test_using_leaves_the_original_alone():
    @job(priority=1)
    def handler(number: int = 1):
        pass

    other = handler.using(priority=50).using(queue_name="mail")
    assert other.defaults == {"priority": 50, "queue_name": "mail"}
    assert handler.defaults == {}
    assert other.arguments is handler.arguments
    assert registry.get(handler.name) is handler


@pytest.mark.parametrize(
    "defaults",
    [
        {"priority": 101},
        {"max_attempts": 0},
        {"queue_name": ""},
        {"run_after": 60},
        {"run_after": "tomorrow"},
        {"run_after": dt.datetime(2026, 1, 1)},
    ],
)
def test_using_refuses_what_cannot_work(defaults, settings):
    settings.USE_TZ = True
    handler = JobType(lambda: None, {"name": "shop.job"})
    with pytest.raises(ValueError, match=next(iter(defaults))):
        handler.using(**defaults)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("delay", "enqueue"),
        ("apply_async", "enqueue"),
        ("defer_async", "aenqueue"),
        ("s", "bind"),
        ("enque", "enqueue"),
    ],
)
def test_methods_that_other_packages_have_are_answered_with_those_of_a_job_type(name, meant):
    @job
    def handler(): ...

    with pytest.raises(AttributeError, match=rf"no attribute '{name}'\. Did you mean '{meant}'\?"):
        getattr(handler, name)
    with pytest.raises(AttributeError, match=r"no attribute 'colour'\.$"):
        handler.colour  # noqa: B018 - to read it is the test


def test_a_job_that_is_called_like_a_function_says_how_it_is_enqueued():
    @job(name="shop.close")
    def handler(context: JobContext, shop: str = ""):
        return shop

    for arguments in ({}, {"shop": "Berlin"}):
        with pytest.raises(TypeError, match=r"shop\.close was called without its 'context'\..* enqueue\(…\)"):
            handler(**arguments)
    assert handler(None, "Berlin") == handler(context=None, shop="Berlin") == "Berlin"


def test_a_name_by_position_is_answered_with_the_option():
    with pytest.raises(JobTypeError, match=r"write @job\(name='shop.close'\)"):
        job("shop.close")(lambda: None)


@pytest.mark.parametrize(
    ("schedule", "remedy"),
    [("0 2 * * *", "Cron('0 2 * * *')"), (dt.timedelta(hours=2), "Every(seconds=7200)")],
)
def test_a_schedule_that_is_no_rule_is_answered_with_one(schedule, remedy):
    with pytest.raises(JobTypeError) as error:
        job(schedule=schedule)(lambda: None)
    assert f"write {remedy}" in str(error.value)
    assert not str(error.value).endswith("..")


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("colour", "There are: after, after_failure, conc"),
        ("countdown", "Did you mean 'run_after'?"),
        ("priorty", "'priority'?"),
    ],
)
def test_using_refuses_an_unknown_option_and_names_what_may_be_meant(option, hint):
    with pytest.raises(TypeError, match=rf"shop\.job\.using\(\) has no option '{option}'") as error:
        JobType(lambda: None, {"name": "shop.job"}).using(**{option: 4})
    assert hint in str(error.value)
    assert "EnqueueOptions" not in str(error.value)


def test_an_unknown_option_of_the_decorator_names_what_may_be_meant():
    with pytest.raises(JobTypeError, match=r"no option max_retries\. Did you mean 'max_attempts'\?"):
        job(max_retries=3)(test_every_public_name_is_there)


def test_a_lambda_needs_a_name():
    with pytest.raises(JobTypeError, match=r"has no name of its own: give it one with @job\(name=…\)"):
        job(lambda: None)
    assert JobType(lambda: None, {"name": "shop.job"}).name == "shop.job"


def test_a_cron_expression_as_a_text_names_what_to_write():
    with pytest.raises(JobTypeError, match=r"write Cron\('0 2 \* \* \*'\)"):
        job(schedule="0 2 * * *")(test_every_public_name_is_there)


def test_an_unknown_job_type_names_the_closest_one_and_where_jobs_are_found():
    JobType(lambda: None, {"name": "shop.job"})
    own = Registry()
    own.register(JobType(lambda: None, {"name": "shop.import_products"}))
    with pytest.raises(UnknownJobType, match=r"Did you mean 'shop\.import_products'\? .*INSTALLED_APPS") as error:
        own.get("shop.import_product")
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_a_zone_is_refused_where_the_project_has_none(settings):
    settings.USE_TZ = False
    handler = JobType(lambda: None, {"name": "shop.job"})
    with pytest.raises(ValueError, match="must not have a time zone"):
        handler.using(run_after=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    assert handler.using(run_after=dt.datetime(2026, 1, 1)).defaults["run_after"] == dt.datetime(2026, 1, 1)


def test_every_public_name_is_there():
    assert {name: getattr(qorworker, name).__name__ for name in qorworker.__all__} == {
        name: name for name in qorworker.__all__
    }
    assert set(qorworker.__all__) <= set(dir(qorworker))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        qorworker.nonsense  # noqa: B018
    assert issubclass(qorworker.Job, Model)


def test_the_package_can_be_imported_before_there_are_settings():
    code = "import qorworker, sys; assert 'django' not in sys.modules; from qorworker import job, Arg, Secret"
    subprocess.run([sys.executable, "-c", code], check=True, env={})


def test_a_second_using_adds_to_the_first_and_none_takes_back_what_it_said():
    handler = JobType(lambda: None, {"name": "shop.job", "priority": 7})
    other = handler.using(priority=50, queue_name="mail").using(priority=None)
    assert other.defaults == {"priority": None, "queue_name": "mail"}


def test_an_annotation_with_a_job_type_is_resolved_when_it_runs():
    def takes(one: JobType[[int, str], bool], any_type: "JobType[..., Any]") -> None: ...

    hints = get_type_hints(takes)
    assert get_args(hints["one"]) == ([int, str], bool)
    assert hints["any_type"].__origin__ is JobType


def test_a_class_made_of_a_job_type_with_parts_is_a_job_type():
    class Own(JobType[..., Any]):
        pass

    assert Own.__mro__[1] is JobType
    assert isinstance(Own(lambda: None, {"name": "shop.job"}), JobType)


def test_what_wraps_a_job_type_has_the_signature_of_its_function():
    @job
    def handler(context: JobContext, number: int = 1) -> str:
        """Counts."""
        return str(number)

    @functools.wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> str:
        return handler(*args, **kwargs)

    assert inspect.signature(wrapper) == inspect.signature(handler) == inspect.signature(handler.function)
    assert (wrapper.__name__, wrapper.__doc__, wrapper(None, 3)) == ("handler", "Counts.", "3")


def test_a_copy_of_a_job_type_enqueues_the_same_jobs():
    @job
    def handler(number: int) -> None: ...

    assert copy.deepcopy([handler]) == [handler]
    same = copy.copy(handler)
    assert (same.name, same.function, same.defaults) == (handler.name, handler.function, {})


@pytest.mark.parametrize("kind", [classmethod, staticmethod, functools.partial])
def test_a_method_or_a_partial_is_refused_with_its_kind(kind):
    def handler() -> None: ...

    with pytest.raises((JobTypeError, AttributeError), match=kind.__name__):
        job(kind(handler))


def test_a_bound_method_is_refused():
    class Shop:
        def close(self) -> None: ...

    with pytest.raises(JobTypeError, match=r"Shop\.close .*needs a plain function, not method"):
        job(Shop().close)
