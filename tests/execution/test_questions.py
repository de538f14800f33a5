"""What a handler gets for its questions, and what becomes of its attempts."""

import datetime as dt
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Annotated, Literal

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils.translation import gettext_lazy

from qorworker import Arg, InvalidArguments, JobContext, NotAnswered, Secret, job
from qorworker.definitions.registry import registry
from qorworker.execution.questions import Questions
from qorworker.models import AuditEntry, Job, Question
from qorworker.testing import DECLINED, NOBODY, run_job
from tests.job_types import own_types  # noqa: F401
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
HOUR = dt.timedelta(hours=1)
urlpatterns: list = []  # of a project that does not include those of the app


class Region(Enum):
    NORTH = "n"
    SOUTH = "s"


@pytest.fixture
def said():
    return []


@pytest.fixture
def asks(own_types, said):  # noqa: F811
    @job(name="test.asks")
    def asks(context: JobContext) -> str:
        said.append("prepared")
        answer = context.ask("Publish 1,204 prices?", publish=bool, note=str)
        said.append((answer.publish, answer["note"], answer.answered_by, answer.is_default))
        return "published" if answer.publish else "kept"

    return asks


def asking(handler, **options):
    """A job of a type made of *handler*, which has run once."""
    return run_job(job(name="test.once", **options)(handler)).job


class TestAsk:
    def test_the_attempt_ends_and_the_job_waits(self, asks, said):
        run = run_job(asks)
        assert (run.status, run.job.attempt, run.job.waits_for_answer, run.error) == ("scheduled", 0, True, "")
        assert [(each.outcome, each.counted) for each in run.attempts] == [("suspended", None)]
        assert said == ["prepared"]
        (reason,) = run.job.why_waiting()
        assert (reason.kind, reason.text, reason.until) == ("answer", "It waits for an answer.", None)
        assert reason.since is not None
        assert not reason.is_obstacle

    def test_the_handler_runs_again_with_the_answer(self, asks, said):
        run = run_job(asks, answers=[{"publish": True, "note": "fine"}])
        assert (run.status, run.result, run.job.attempt) == ("done", "published", 1)
        assert said == ["prepared", "prepared", (True, "fine", "", False)]
        question = run.job.questions.get()
        assert (question.text, question.state, question.answer) == (
            "Publish 1,204 prices?",
            "answered",
            {"publish": True, "note": "fine"},
        )

    def test_an_answer_names_its_user(self, asks, said, django_user_model):
        lou = django_user_model.objects.create_user("lou")
        run = run_job(asks)
        run.job.answer(by=lou, publish=False)
        assert run_job(run.job).result == "kept"
        assert said[-1] == (False, "", "lou", False)
        question = run.job.questions.get()
        assert (question.user_name, question.user_id, question.origin) == ("lou", str(lou.pk), "code")

    def test_it_can_ask_with_one_attempt_as_often_as_it_likes(self):
        def often(context: JobContext) -> list:
            return [context.ask(f"Number {number}?", value=int).value for number in range(4)]

        run = run_job(job(name="test.often", max_attempts=1)(often), answers=[{"value": n} for n in range(4)])
        assert (run.status, run.result, run.job.attempt) == ("done", [0, 1, 2, 3], 1)
        assert len({each.key for each in run.job.questions.all()}) == 4

    def test_the_job_waits_from_the_moment_at_which_the_question_is_stored(self, monkeypatch):
        seen = []
        settled = Questions._settled

        def look(self, question):
            seen.append(Job.objects.get().waits_for_answer)
            return settled(self, question)

        monkeypatch.setattr(Questions, "_settled", look)
        run_job(job(name="test.confirm")(lambda context: context.ask("Go on?")))
        assert seen == [True]

    def test_a_question_without_fields_is_a_confirmation(self):
        def confirm(context: JobContext) -> bool:
            return bool(context.ask("Go on?"))

        assert run_job(job(name="test.confirm")(confirm), answers=[{}]).result is True

    def test_every_kind_of_field_comes_back_as_its_type(self):
        seen = []

        def many(context: JobContext) -> None:
            seen.append(
                context.ask(
                    "Which?",
                    number=Annotated[int, Arg(min_value=3)],
                    price=Decimal,
                    day=Annotated[dt.date, Arg(min_value=dt.date(2026, 1, 1))],
                    region=Region,
                    mode=Literal["add", 1] | None,
                    kinds=list[Literal["a", "b"]],
                    lines=list[int],
                    data=dict,
                    pause=dt.timedelta,
                )
            )

        given = {
            "number": 4,
            "price": "1.50",
            "day": "2026-02-01",
            "region": "s",
            "mode": 1,
            "kinds": ["b"],
            "lines": [1, 2],
            "data": {"a": [1]},
            "pause": "01:00:00",
        }
        assert run_job(job(name="test.many")(many), answers=[given]).status == "done"
        assert seen[0].values == {
            "number": 4,
            "price": Decimal("1.50"),
            "day": dt.date(2026, 2, 1),
            "region": Region.SOUTH,
            "mode": 1,
            "kinds": ["b"],
            "lines": [1, 2],
            "data": {"a": [1]},
            "pause": HOUR,
        }
        with pytest.raises(AttributeError, match="The answer has no field 'nothing': it has number, price"):
            seen[0].nothing  # noqa: B018

    def test_a_lazy_text_is_kept_for_each_reader(self):
        row = asking(lambda context: context.ask(gettext_lazy("Delete"))).questions.get()
        assert row.text == ["Delete"]

    @pytest.mark.django_db(transaction=True)
    def test_a_coroutine_asks_with_await(self):
        async def polite(context: JobContext) -> int:
            return (await context.aask("How many?", number=int)).number

        assert run_job(job(name="test.polite")(polite), answers=[{"number": 5}]).result == 5

    def test_a_coroutine_cannot_block(self):
        async def rude(context: JobContext) -> None:
            context.ask("How many?")

        run = run_job(job(name="test.rude")(rude))
        assert run.status == "exception"
        assert "use “await context.aask(…)”" in run.error

    def test_a_handler_that_catches_everything_is_suspended_all_the_same(self, said):
        def greedy(context: JobContext) -> str:
            for _number in range(2):
                try:
                    said.append(context.ask("Sure?", sure=bool).sure)
                except BaseException:
                    said.append("caught")
            return "end"

        run = run_job(job(name="test.greedy")(greedy))
        assert (run.status, run.job.questions.count(), run.job.waits_for_answer) == ("scheduled", 1, True)


def with_default(context: JobContext) -> list:
    answer = context.ask("Sure?", sure=bool, default={"sure": True}, expires=HOUR)
    return [answer.sure, answer.is_default]


class TestDefault:
    def test_it_counts_if_nobody_answers_in_time(self):
        run = run_job(job(name="test.default")(with_default), answers=[NOBODY])
        assert (run.status, run.result) == ("done", [True, True])
        question = run.job.questions.get()
        assert (question.state, question.answer) == ("expired", None)
        assert AuditEntry.objects.of_job(run.job.pk).values_list("action", flat=True).last() == "expire"

    def test_the_job_is_due_when_the_time_is_over(self):
        row = run_job(job(name="test.default")(with_default)).job
        question = row.questions.get()
        assert row.run_after == question.expires_at
        assert HOUR - dt.timedelta(minutes=1) < question.expires_at - question.asked_at <= HOUR
        assert Job.objects.promote_due() == 0
        Job.objects.filter(pk=row.pk).update(run_after=question.asked_at)
        assert Job.objects.promote_due() == 1

    def test_without_one_the_job_ends_as_not_answered(self):
        run = run_job(
            job(name="test.strict", max_attempts=3)(lambda context: context.ask("Sure?", expires=HOUR)),
            answers=[NOBODY],
        )
        assert (run.status, run.attempts[-1].outcome) == ("exception", "unanswered")
        assert run.error.startswith("Nobody answered until ")

    def test_without_a_time_it_waits_for_ever(self):
        row = asking(lambda context: context.ask("Sure?"))
        assert row.run_after - row.enqueued_at > dt.timedelta(days=36_000)
        assert Job.objects.promote_due() == 0

    def test_somebody_declines(self, said):
        def strict(context: JobContext) -> None:
            try:
                context.ask("Sure?", default={}, expires=HOUR)
            except NotAnswered as error:
                said.append((error.is_declined, error.reason, error.key))
                raise

        run = run_job(job(name="test.strict")(strict))
        run.job.decline(reason="Not today.")
        run = run_job(run.job)
        assert said == [(True, "Not today.", run.job.questions.get().key)]
        assert (run.status, run.error) == ("exception", "The program declined to answer. (Not today.)")

    def test_a_handler_may_go_on_without_an_answer(self):
        def patient(context: JobContext) -> str:
            try:
                context.ask("Sure?")
            except NotAnswered:
                return context.ask("Really?", word=str).word
            return ""

        assert run_job(job(name="test.patient")(patient), answers=[DECLINED, {"word": "yes"}]).result == "yes"

    def test_a_retry_asks_again_what_nobody_answered(self):
        def two(context: JobContext) -> list:
            return [context.ask("First?", value=int).value, context.ask("Second?", value=int).value]

        run = run_job(job(name="test.two")(two), answers=[{"value": 1}, DECLINED])
        assert run.status == "exception"
        run.job.retry()
        run = run_job(run.job)
        assert (run.status, run.job.waits_for_answer) == ("scheduled", True)
        assert [(each.text, each.round, each.state) for each in run.job.questions.all()] == [
            ("First?", 1, "answered"),
            ("Second?", 1, "declined"),
            ("Second?", 2, "open"),
        ]
        assert run_job(run.job, answers=[{"value": 2}]).result == [1, 2]

    def test_the_next_attempt_after_an_error_hears_the_same(self, said):
        def clumsy(context: JobContext) -> None:
            try:
                context.ask("Sure?")
            except NotAnswered:
                said.append("declined")
            if context.attempt == 1:
                raise ValueError

        clumsy_job = job(name="test.clumsy", max_attempts=2, backoff=lambda attempt: 0)(clumsy)
        run = run_job(clumsy_job, answers=[DECLINED])
        assert run_job(run.job).status == "done"
        assert said == ["declined", "declined"]


class TestRefused:
    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"word": Secret[str]}, "word: a question takes no secrets, because answers are stored"),
            ({"shop": Shop}, "shop: a question takes no rows of a model"),
            ({"data": dict[str, int]}, "data: a question cannot keep the type dict"),
            ({"data": set}, "data: no form field exists for set"),
            ({"data": Annotated[int, Arg(validators=[print])]}, "data: a question cannot keep validators=…"),
            ({"colour": Annotated[str, Arg(choices=[])]}, "colour: it has no choices, so nobody could answer"),
            ({"colours": Annotated[list[str], Arg(choices=list)]}, "colours: it has no choices"),
            ({"by": str}, "ask(): by cannot be the name of a field."),
            ({"values": str}, "ask(): values cannot be the name of a field."),
        ],
    )
    def test_a_field_that_no_form_can_have(self, fields, sentence):
        run = run_job(job(name="test.bad")(lambda context: context.ask("Which?", **fields)))
        assert (run.status, Question.objects.count(), run.job.has_questions) == ("exception", 0, False)
        assert sentence in run.error

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"default": {"sure": "perhaps"}, "expires": HOUR, "sure": bool}, "sure: This must be True or False"),
            ({"default": {"other": 1}, "expires": HOUR, "sure": bool}, "other: This argument does not exist."),
            (
                {"default": {"sure": True}, "sure": bool},
                "a default counts only if nobody answers in time: give expires=…",
            ),
            ({"expires": -HOUR}, "expires must be longer than nothing"),
            ({"expires": 60}, "expires must be a timedelta or a datetime, not int."),
            ({"key": "#1"}, "a key is a text of up to 100 characters that does not begin with “#”"),
            ({"key": "k" * 101}, "a key is a text of up to 100 characters"),
            ({"key": str}, "a key is a text of up to 100 characters"),
            ({"permission": bool}, "the permission must be the name of one"),
            ({"permission": "publish"}, "the permission must be the name of one"),
        ],
    )
    def test_an_option_that_does_not_fit(self, options, sentence):
        run = run_job(job(name="test.bad")(lambda context: context.ask("Which?", **options)))
        assert (run.status, Question.objects.count()) == ("exception", 0)
        assert sentence in run.error

    @pytest.mark.parametrize("text", ["", " ", "x" * 2001])
    def test_a_text_that_is_empty_or_too_long(self, text):
        run = run_job(job(name="test.bad")(lambda context: context.ask(text)))
        assert "the question needs a text of 1 to 2000 characters" in run.error

    def test_the_same_key_twice(self):
        def twice(context: JobContext) -> None:
            context.callback(key="one")
            context.ask("One?", key="one")

        assert "ask() was called twice with the key 'one'" in run_job(job(name="test.twice")(twice)).error

    def test_a_key_that_was_that_of_a_callback(self):
        def shuffled(context: JobContext) -> None:
            asks = not Question.objects.exists()
            context.ask("One?", key="one") if asks else context.callback(key="one")

        run = run_job(job(name="test.shuffled")(shuffled), answers=[{}])
        assert "The key 'one' was that of another question before" in run.error

    def test_a_loop_needs_keys(self):
        def loops(context: JobContext, keys: bool) -> list:
            found = []
            for number in context.iterate(range(2)):
                key = f"item {number}" if keys else ""
                found.append(context.ask("Good?", key=key, value=int).value)
            return found

        loops = job(name="test.loops")(loops)
        assert "ask() inside of iterate() needs a key=…" in run_job(loops, keys=False).error
        run = run_job(loops, keys=True, answers=[{"value": 1}, {"value": 2}])
        assert (run.status, run.result) == ("done", [2])  # the first item is not done again

    def test_a_transaction(self):
        def inside(context: JobContext) -> None:
            with transaction.atomic():
                context.ask("Sure?")

        assert "ask() was called inside a transaction" in run_job(job(name="test.inside")(inside)).error
        assert (
            "ask() was called inside a transaction"
            in run_job(job(name="test.in", atomic=True)(lambda context: context.ask("Sure?"))).error
        )
        assert not Question.objects.exists()

    def test_a_secret_is_not_stored(self):
        def leaky(context: JobContext, word: Secret[str], in_default: bool) -> None:
            text = word.get_secret_value()
            default = {"hint": text} if in_default else {"hint": "none"}
            context.ask(f"Is it {text}?", hint=str, default=default, expires=HOUR)

        leaky = job(name="test.leaky")(leaky)
        assert run_job(leaky, word="k9-sesame", in_default=False).job.questions.get().text == "Is it ••••••?"
        run = run_job(leaky, word="k9-sesame", in_default=True)
        assert "this one contains a secret argument of the job" in run.error

    @pytest.mark.parametrize("verb", ["ask", "callback"])
    def test_nor_is_one_in_a_key(self, verb):
        def leaky(context: JobContext, word: Secret[str]) -> None:
            key = f"for {word.get_secret_value()}"
            context.ask("Sure?", key=key) if verb == "ask" else context.callback(key=key)

        run = run_job(job(name="test.leaky")(leaky), word="k9-sesame")
        assert "this one contains a secret argument of the job" in run.error
        assert not Question.objects.exists()

    def test_keys_differ_however_the_database_compares(self):
        keys = ["a", "A", "a ", "ä"]

        def alike(context: JobContext) -> list:
            return [context.ask("Which?", key=key, number=int).number for key in keys]

        run = run_job(job(name="test.alike")(alike), answers=[{"number": n} for n in range(4)])
        assert run.result == [0, 1, 2, 3]
        assert [each.key for each in run.job.questions.all()] == keys

    def test_outside_of_a_job(self):
        context = JobContext(job_id=1, name="a.b", attempt=1, max_attempts=1, arguments={}, send=lambda record: None)
        with pytest.raises(RuntimeError, match="only be asked by a job that runs"):
            context.ask("Sure?")

    def test_fields_that_changed_while_it_waited(self):
        kinds = SimpleNamespace(fields={"sure": bool})
        asks = job(name="test.drift")(lambda context: context.ask("Sure?", key="sure", **kinds.fields).values)
        run = run_job(asks)
        kinds.fields = {"sure": bool, "note": str}
        run.job.answer(sure=True)
        assert run_job(run.job).status == "done"  # a text may be empty
        run = run_job(asks)
        kinds.fields = {"number": int}
        run.job.answer(sure=True, note="")
        run = run_job(run.job)
        assert run.status == "exception"
        assert "sure: This argument no longer exists." in run.error
        assert "the question “Sure?”, which was answered before its fields were changed" in run.error


class TestNewCode:
    """A deployment while a job waits for an answer: what was answered counts for what was asked."""

    @pytest.fixture
    def deploy(self, own_types):  # noqa: F811
        """Let the job type have this handler from now on."""

        def deploy(handler):
            registry.unregister("test.new") if registry.find("test.new") else None
            return job(name="test.new")(handler)

        return deploy

    def test_a_question_that_comes_first_now_is_asked_and_hears_no_other_answer(self, deploy):
        first = run_job(deploy(lambda context: context.ask("Delete the shop?", sure=bool).sure)).job
        first.answer(sure=True)
        deploy(
            lambda context: [
                context.ask("Warn the staff?", sure=bool).sure,
                context.ask("Delete the shop?", sure=bool).sure,
            ]
        )
        run = run_job(first)
        assert run.job.is_asking
        assert [(each.text, each.state) for each in run.job.questions.all()] == [
            ("Delete the shop?", "answered"),
            ("Warn the staff?", "open"),
        ]
        assert run_job(run.job, answers=[{"sure": False}]).result == [False, True]

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (("Which?", {"number": int}), ("Which?", {"number": str})),
            (("Which?", {"number": int}), ("Which?", {"count": int})),
            (("Keep Ann?", {}), ("Keep Bob?", {})),
        ],
    )
    def test_another_question_in_the_same_place_is_asked_anew(self, deploy, before, after):
        asked = run_job(deploy(lambda context: context.ask(before[0], **before[1]) and None)).job
        asked.answer(dict.fromkeys(before[1], 1))
        deploy(lambda context: context.ask(after[0], **after[1]) and None)
        assert run_job(asked).job.questions.count() == 2

    @pytest.mark.parametrize(
        ("before", "after"),
        [("Publish 1,204 prices?", "Publish 98 prices?"), ("Go on at 12:05?", "Go on at 9:30?"), ("1\u00a0204?", "7?")],
    )
    def test_a_number_that_has_changed_makes_no_other_question(self, deploy, before, after):
        asked = run_job(deploy(lambda context: bool(context.ask(before)))).job
        asked.answer()
        deploy(lambda context: bool(context.ask(after)))
        assert run_job(asked).result is True

    def test_the_same_question_in_a_loop_is_told_apart_by_its_place(self, deploy):
        numbers = deploy(lambda context: [context.ask(f"Item {n}?", value=int).value for n in range(3)])
        assert run_job(numbers, answers=[{"value": n} for n in (5, 6, 7)]).result == [5, 6, 7]


class TestCallback:
    def test_it_waits_for_a_call(self, said):
        def calls(context: JobContext) -> dict:
            callback = context.callback(expires=HOUR)
            said.append(callback.url)
            return callback.wait()

        run = run_job(job(name="test.calls")(calls))
        (reason,) = run.job.why_waiting()
        assert (run.status, reason.text) == ("scheduled", "It waits for a call from outside.")
        assert run_job(run.job, answers=[{"paid": [1, 2]}]).result == {"paid": [1, 2]}
        assert said[0] == said[1]
        assert said[0].startswith("/qorworker/callback/")

    def test_a_call_that_comes_before_the_wait_counts(self):
        def quick(context: JobContext) -> object:
            callback = context.callback()
            context.job.questions.get()
            Job.objects.get(pk=context.job_id).answer(None)
            return [callback.wait()]

        run = run_job(job(name="test.quick")(quick))
        assert (run.status, run.result, len(run.attempts)) == ("done", [None], 1)

    def test_a_callback_nobody_waits_for_holds_nothing_up(self):
        run = run_job(job(name="test.idle")(lambda context: context.callback().url))
        assert (run.status, run.job.waits_for_answer, run.job.has_questions) == ("done", False, True)

    def test_a_default(self):
        run = run_job(
            job(name="test.calls")(lambda context: context.callback(default=[1], expires=HOUR).wait()), answers=[NOBODY]
        )
        assert run.result == [1]

    def test_a_default_that_is_no_json(self):
        run = run_job(job(name="test.calls")(lambda context: context.callback(default=HOUR, expires=HOUR)))
        assert "callback(): the default must be JSON" in run.error

    def test_a_default_that_could_never_count(self):
        run = run_job(job(name="test.calls")(lambda context: context.callback(default=None)))
        assert "callback(): a default counts only if nobody answers in time: give expires=…, too." in run.error
        assert not Question.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_in_a_coroutine(self):
        async def calls(context: JobContext) -> object:
            callback = await context.acallback()
            return await callback.await_call()

        assert run_job(job(name="test.calls")(calls), answers=["hello"]).result == "hello"

    def test_whole_addresses_need_a_setting(self, settings):
        settings.QORWORKER = {**settings.QORWORKER, "BASE_URL": "https://shop.example/app/"}
        run = run_job(job(name="test.calls")(lambda context: context.callback().url))
        assert run.result.startswith("https://shop.example/app/qorworker/callback/")

    @override_settings(ROOT_URLCONF="tests.execution.test_questions")
    def test_a_project_without_the_addresses_hears_so(self):
        run = run_job(job(name="test.calls")(lambda context: context.callback().url))
        assert run.status == "exception"
        assert 'add path("qorworker/", include("qorworker.urls")) to the urlpatterns' in run.error


class TestRunJob:
    def test_an_answer_without_a_question(self, asks):
        with pytest.raises(ValueError, match=r"has no open question: \{\} answers nothing"):
            run_job(asks, answers=[{"publish": True}, {}])

    def test_a_job_that_waits_needs_answers(self, asks):
        run = run_job(asks)
        with pytest.raises(ValueError, match=r"waits for an answer: give it with run_job\(job, answers=\[…\]\)"):
            run_job(run.job)

    def test_an_answer_that_does_not_fit(self, asks):
        with pytest.raises(InvalidArguments, match="publish: This must be True or False"):
            run_job(asks, answers=[{"publish": "perhaps"}])
