"""What is around a run: its order, how it ends a job, and what it must be."""
# ruff: noqa: F811 - fixtures of other modules

import asyncio
import json

import pytest
from django.core.exceptions import ImproperlyConfigured

from qorworker import JobContext, checks, job
from qorworker.definitions.registry import registry
from qorworker.exceptions import JobRefused, JobTypeError
from qorworker.execution import middleware as execution_middleware
from qorworker.execution.execute import Work, execute
from qorworker.models import Job
from tests.fixtures import open_database, start, transactional_db  # noqa: F401
from tests.models.rows import make_job
from tests.support import ended, log_of
from tests.testapp import jobs, middleware, tasks
from tests.testapp.models import Shop

HOME = "tests.testapp.middleware"


@pytest.fixture
def project(settings):
    """``project("path", …)`` sets the project's middleware."""

    def chosen(*paths):
        settings.QORWORKER = {**settings.QORWORKER, "MIDDLEWARE": [f"{HOME}.{path}" for path in paths]}

    return chosen


def lines(sent):
    return [record[4] for record in sent if record[0] == "log"]


def returned(sent):
    return [json.loads(record[2]) for record in sent if record[0] == "return"]


def says(word):
    """A middleware that logs when it is entered and left."""

    def factory(call_next):
        def middleware(context):
            context.add_log(f"{word} in")
            try:
                return call_next(context)
            finally:
                context.add_log(f"{word} out")

        return middleware

    return factory


def speaking(context: JobContext) -> str:
    context.add_log("handler")
    return "said"


class TestOrder:
    def test_that_of_the_project_is_around_that_of_the_type(self, run, project, capsys):
        project("outer", "Inner")
        _, sent = run(speaking, middleware=[says("third"), says("fourth")])
        assert lines(sent) == [
            "outer in", "inner in", "third in", "fourth in", "handler", "fourth out", "third out", "inner out",
        ]  # fmt: skip
        assert capsys.readouterr().out == "outer out\n"
        assert returned(sent) == ["said"]

    def test_paths_and_functions_may_be_mixed_in_a_type(self, run):
        _, sent = run(speaking, middleware=[f"{HOME}.Inner", middleware.both])
        assert lines(sent) == ["inner in", "plain", "handler", "inner out"]

    def test_one_that_says_it_is_not_used_is_left_out(self, run, project):
        project("unused", "Inner")
        ending, sent = run(speaking)
        assert ending.outcome == "done"
        assert lines(sent) == ["inner in", "handler", "inner out"]

    def test_a_factory_is_called_once_for_a_type(self, run):
        made = []

        def factory(call_next):
            made.append(call_next)
            return call_next

        run(speaking, middleware=[factory])
        run(None)
        assert len(made) == 1

    def test_a_change_of_the_setting_counts(self, run, project):
        run(speaking)
        project("Inner")
        assert "inner in" in lines(run(None)[1])


class TestWhatItSees:
    def test_the_context_of_the_attempt(self, run):
        seen = []

        def watching(call_next):
            def middleware(context):
                seen.append((context.job_id, context.name, context.attempt, dict(context.arguments)))
                return call_next(context)

            return middleware

        def handler(number: int) -> None:
            pass

        run(handler, '{"number": 5}', attempt=2, max_attempts=3, middleware=[watching])
        assert seen == [(7, "test.job", 2, {"number": 5})]

    def test_what_it_leaves_for_the_handler_is_gone_with_the_next_job(self, run):
        states = []

        def giving(call_next):
            def middleware(context):
                states.append(vars(context.state).copy())
                context.state.tenant = "berlin"
                return call_next(context)

            return middleware

        def handler(context: JobContext) -> None:
            states.append(vars(context.state).copy())

        run(handler, middleware=[giving])
        run(None)
        assert states == [{}, {"tenant": "berlin"}, {}, {"tenant": "berlin"}]

    def test_the_result_and_may_change_it(self, run):
        def doubling(call_next):
            return lambda context: call_next(context) * 2

        _, sent = run(lambda: 21, middleware=[doubling])
        assert returned(sent) == [42]

    def test_the_error_and_may_give_it_another_end(self, run):
        def forgiving(call_next):
            def middleware(context):
                try:
                    return call_next(context)
                except ZeroDivisionError:
                    return "never mind"

            return middleware

        ending, sent = run(lambda: 1 / 0, middleware=[forgiving])
        assert (ending.outcome, returned(sent)) == ("done", ["never mind"])


class TestStopping:
    @pytest.fixture
    def stopped(self, run):
        """``stopped(action)``: a job with a middleware that does this instead of calling on."""

        def stopped(action, **options):
            def handler() -> None:
                raise AssertionError("the handler was called")

            return run(handler, middleware=[lambda call_next: action], **options)

        return stopped

    def test_one_that_returns_without_calling_on_ends_the_job_as_done(self, stopped):
        ending, sent = stopped(lambda context: "not today")
        assert (ending.outcome, returned(sent)) == ("done", ["not today"])
        assert lines(sent) == ["A middleware ended the job; its function was not called."]

    def test_one_that_raises_fails_the_attempt_as_the_handler_would(self, stopped):
        def failing(context):
            raise ConnectionError("the shop is closed")

        ending, sent = stopped(failing, max_attempts=3, backoff=lambda attempt: 7)
        assert (ending.outcome, ending.error, ending.delay) == ("failed", "ConnectionError: the shop is closed", 7.0)
        assert ending.exception_class == "builtins.ConnectionError"

    def test_one_that_refuses_the_job_ends_it_without_another_attempt(self, stopped):
        def refusing(context):
            raise JobRefused("The shop has been sold.")

        ending, _ = stopped(refusing, max_attempts=3)
        assert (ending.outcome, ending.error, ending.delay) == ("refused", "The shop has been sold.", None)

    def test_an_abort_reaches_it(self, stopped):
        assert stopped(lambda context: context.check_abort(), aborts=True)[0].outcome == "aborted"


class TestAtomic:
    @pytest.fixture
    def stored(self, run):
        """How an atomic job ends whose middleware writes a row before and after it, and which rows are there."""

        def stored(handler):
            def writing(call_next):
                def middleware(context):
                    Shop.objects.create(name="before")
                    result = call_next(context)
                    Shop.objects.create(name="after")
                    return result

                return middleware

            row = make_job("running", name="test.job", attempt_token="t" * 32)
            job(name="test.job", atomic=True, middleware=[writing])(handler)
            ending = execute(Work(row.pk, "test.job", "{}", 1, 1, "t" * 32), lambda record: None)
            row.refresh_from_db()
            outcome = row.attempts.values_list("outcome", flat=True).first()
            return ending, outcome, list(Shop.objects.order_by("id").values_list("name", flat=True))

        return stored

    def test_what_it_writes_is_committed_with_the_end_of_the_job(self, stored):
        ending, outcome, shops = stored(lambda: None)
        assert (ending.committed, outcome, shops) == (True, "done", ["before", "after"])

    def test_what_it_writes_is_rolled_back_with_a_job_that_fails(self, stored):
        ending, outcome, shops = stored(lambda: 1 / 0)
        assert (ending.committed, outcome, shops) == (False, None, [])


class TestCoroutines:
    async def handler(context: JobContext) -> str:
        await asyncio.sleep(0)
        context.add_log("handler")
        return "said"

    handler = staticmethod(handler)

    def test_a_plain_one_is_around_a_coroutine(self, run, project):
        project("Inner")
        ending, sent = run(self.handler)
        assert ending.outcome == "done"
        assert (lines(sent), returned(sent)) == (["inner in", "handler", "inner out"], ["said"])

    def test_one_for_both_is_awaited_as_far_as_all_within_it_is(self, run, project):
        project("both", "Inner")
        _, sent = run(self.handler, middleware=[middleware.both, middleware.awaiting, middleware.AwaitingClass])
        assert lines(sent) == ["plain", "inner in", "awaited", "only awaited", "class awaited", "handler", "inner out"]
        assert returned(sent) == ["said"]

    def test_one_that_only_awaits_cannot_be_around_a_plain_function(self, run, project):
        project("awaiting")
        ending, sent = run(speaking)
        assert ending.outcome == "failed"
        assert "tests.testapp.middleware.awaiting is for coroutines only" in ending.error
        assert lines(sent) == []


class TestMistakes:
    @pytest.mark.parametrize("chosen", ["shop.middleware.timed", [7], None, {"a.b"}])
    def test_an_option_that_is_no_list_of_middleware_is_refused_where_the_code_is_imported(self, chosen):
        with pytest.raises(JobTypeError, match=r"middleware=.*must be a list of callables"):
            job(name="test.job", middleware=chosen)(speaking)

    @pytest.mark.parametrize("chosen", ["shop.middleware.timed", ["timed"], [speaking]])
    def test_a_setting_that_is_no_list_of_paths_is_e001(self, settings, chosen):
        settings.QORWORKER = {"MIDDLEWARE": chosen}
        [error] = checks.check_settings()
        assert error.id == "qorworker.E001"
        assert "QORWORKER['MIDDLEWARE'] must be a list of dotted paths" in error.msg
        assert checks.check_middleware() == []

    @pytest.mark.parametrize(
        ("path", "problem"),
        [
            ("missing", "The middleware tests.testapp.middleware.missing cannot be imported"),
            ("not_callable", "The middleware tests.testapp.middleware.not_callable cannot be called: it is a str"),
            ("awaiting", "The middleware tests.testapp.middleware.awaiting is for coroutines only, and "),
        ],
    )
    def test_e012_names_the_setting_or_the_job_type(self, own_types, project, path, problem):
        project(path)
        assert [error.id for error in checks.check_middleware()] == ["qorworker.E012"]
        assert checks.check_middleware()[0].msg.startswith(f"QORWORKER['MIDDLEWARE']: {problem}")
        project()
        job(name="test.job", middleware=[f"{HOME}.{path}"])(speaking)
        [error] = checks.check_middleware()
        assert error.msg.startswith("@job(middleware=…) of tests.execution.test_middleware.speaking (")
        assert problem in error.msg

    def test_sound_middleware_has_nothing_to_report(self, own_types, project):
        for job_type in registry.all():
            if job_type.concurrency:  # that of the project would occupy their loop
                registry.unregister(job_type.name)
        project("outer", "Inner", "both", "unused")
        job(name="test.job", middleware=[middleware.AwaitingClass])(TestCoroutines.handler)
        assert checks.check_middleware() == []

    def test_a_factory_that_returns_nothing_fails_the_job_in_words(self, run):
        ending, _ = run(speaking, middleware=[lambda call_next: None])
        assert "returned None, which cannot be called" in ending.error


class TestBackends:
    @pytest.fixture
    def now(self, settings):
        queues = {"default": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"}}
        settings.QORWORKER = {"QUEUES": queues, "MIDDLEWARE": [f"{HOME}.Inner"]}

    def test_it_is_around_jobs_in_the_caller(self, now, transactional_db):
        assert log_of(jobs.story.enqueue()) == ["inner in", "by the context", "logged", "by its logger", "inner out"]

    def test_it_is_around_tasks_and_sees_their_result(self, now, transactional_db):
        result = tasks.double_dictionary.enqueue("a")
        assert log_of(Job.objects.get(pk=result.id)) == ["inner in", "inner out"]
        result.refresh()
        assert result.return_value == {"a": "aa"}


@pytest.mark.process
def test_it_runs_in_the_worker_with_the_jobs_output_around_it(start):
    start(MIDDLEWARE=[f"{HOME}.outer", f"{HOME}.Inner"])
    job = ended(jobs.noop.enqueue())
    assert (job.status, log_of(job)) == ("done", ["outer in", "inner in", "inner out", "outer out"])


@pytest.mark.usefixtures("own_types")
def test_middleware_for_plain_functions_does_not_go_around_jobs_that_share_a_loop():
    def for_coroutines(call_next):
        async def around(context):
            return await call_next(context)

        return around

    for_coroutines.async_capable = True
    plain = says("plain")

    @job(concurrency=5, max_attempts=2, middleware=[plain])
    async def shared() -> None: ...

    assert checks.check_middleware()[0].msg.startswith("@job(middleware=…) of tests.execution")
    assert "share an event loop" in execution_middleware.problem(plain, [shared])
    assert execution_middleware.problem(for_coroutines, [shared]) == ""
    with pytest.raises(ImproperlyConfigured, match="async_capable"):
        execution_middleware.around_coroutine(shared)


@pytest.mark.usefixtures("own_types")
def test_middleware_of_the_project_that_does_not_fit_leaves_out_only_the_types_that_share_a_loop(project):
    project("outer")
    errors = checks.check_middleware()
    assert {error.id for error in errors} == {"qorworker.E012"}
    assert all(error.obj.concurrency for error in errors)
    assert "testapp.shared_quick" in {error.obj.name for error in errors}
