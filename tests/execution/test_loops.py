"""Loops that another attempt goes on with. Tests with processes are in ``tests/processes/test_loops.py``."""

import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from unittest.mock import AsyncMock

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from hypothesis import given
from hypothesis import strategies as st

from qorworker import JobContext, job
from qorworker.definitions.registry import registry
from qorworker.exceptions import JobAborted
from qorworker.execution import loops as module
from qorworker.execution.checkpoints import CommittedCheckpoints
from qorworker.execution.loops import AttemptSuspended
from qorworker.execution.messages import Work
from qorworker.models import Job
from qorworker.testing import run_job
from qorworker.text.masking import Mask
from tests.execution.test_context import Records
from tests.execution.test_context import make as make_context
from tests.models.rows import make_job, somebody_else
from tests.support import wait_until
from tests.testapp.models import Shop


@pytest.fixture
def records():
    return Records()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Seconds, in a list of one number."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def sleeps(clock, monkeypatch):
    """What a loop has slept, in seconds. It takes no time."""
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(module, "sleep", sleep)
    return slept


def checkpoint(records):
    return json.loads(records.of("checkpoint")[-1][0])


def stored(**parts):
    return json.dumps({"loops": {}, "own": None, "rows": [0, 0], **parts})


class Stored:
    """Checkpoints that go to the records, after one that is there already."""

    in_transactions = False
    mark = ""

    def __init__(self, records, text=None):
        self.records, self.text = records, text

    def load(self):
        return self.text

    def keep(self, text):
        self.records.append(["checkpoint", 7, text])

    announce = keep

    def tell_move(self):
        self.records.append(["moved", 7])


def make(records, text=None, **changes):
    return make_context(records, checkpoints=Stored(records, text), **changes)


def resumed(records, **changes):
    """A context of the next attempt."""
    text = records.of("checkpoint")[-1][0]
    return make(records, text, **changes)


class TestTheNextAttempt:
    @given(items=st.lists(st.integers(), max_size=20), places=st.lists(st.integers(0, 20), max_size=4))
    def test_goes_on_behind_the_last_item_that_was_done(self, items, places):
        """Whatever number of attempts fail at whatever places, each item is done once if each end is heard."""
        records, done, context = Records(), [], None
        for place in [*places, None]:
            context = make(records) if context is None else resumed(records)
            try:
                for number, item in enumerate(context.iterate(items)):
                    assert number != place
                    done.append(item)
            except AssertionError:
                pass
            context.flush()
        assert done == items

    def test_begins_at_the_latest_half_a_second_before_a_crash(self, records, clock):
        for number in make(records).iterate(range(100)):
            clock[0] += 0.1
            if number == 50:
                break  # without flush(): nothing more is sent
        assert 45 <= next(iter(resumed(records).iterate(range(100)))) <= 50

    def test_passes_loops_that_were_finished(self, records):
        context = make(records)
        assert list(context.iterate([1, 2], "first")) == [1, 2]
        loop = context.iterate([3, 4], "second")
        assert [next(loop), next(loop)] == [3, 4]
        context.flush()
        context = resumed(records)
        assert list(context.iterate([1, 2], "first")) == []
        assert list(context.iterate([3, 4], "second")) == [4]

    def test_counts_the_rows_and_errors_of_those_before(self, records):
        context = make(records, stored(rows=[5, 2]))
        context.add_results_row("a")
        list(context.iterate([1]))
        assert (context.results_rows, context.results_errors) == (6, 2)
        assert checkpoint(records)["rows"] == [6, 2]

    def test_gives_the_columns_of_the_results_the_same_titles_again(self, records):
        context = make(records, stored(rows=[5, 2]))
        for _ in context.iterate([1]):
            context.set_results_columns("Number")
            context.add_results_row(1)
        assert records.of("columns") == [[["Number"]]]
        with pytest.raises(ValueError, match="have titles already"):
            context.set_results_columns("Other")

    def test_still_gives_no_titles_behind_rows_of_its_own(self, records):
        context = make(records, stored(rows=[5, 2]))
        for _ in context.iterate([1]):
            context.add_results_row(1)
        with pytest.raises(ValueError, match="come before the first row"):
            context.set_results_columns("Number")


class TestProgress:
    def test_is_that_of_all_items(self, records, clock):
        context = make(records)
        for number in context.iterate(range(4), text="item {index} of {total}"):
            clock[0] += 1
            if number == 2:
                break
        assert records.of("progress")[-2:] == [[None, "item 3 of 4"], [50, None]]
        context.flush()
        records.clear()
        records.append(["checkpoint", 7, stored(loops={"": [[2, 4], 2, False]})])
        assert list(resumed(records).iterate(range(4))) == [2, 3]
        assert records.of("progress") == [[50, None], [100, None]]

    def test_set_by_the_handler_does_not_end_the_loop(self, records):
        context = make(records)
        for number in context.iterate([1, 2, 3]):
            context.set_progress(10 * number)
            context.set_progress_text(number)
        assert checkpoint(records)["loops"][""][1:] == [3, True]

    def test_without_a_length_there_is_none(self, records):
        class Endless:
            def after(self, cursor):
                return ((number, number) for number in range(3))

        assert list(make(records).iterate(Endless(), text="item {index} of {total}")) == [0, 1, 2]
        assert records.of("progress") == [[None, "item 1 of ?"], [None, "item 3 of ?"]]

    def test_ends_at_the_last_item(self, records):
        assert list(make(records).iterate([7, 8, 9], text="item {index} of {total}")) == [7, 8, 9]
        assert records.of("progress")[-2:] == [[None, "item 3 of 3"], [100, None]]

    def test_of_nothing_names_no_item(self, records):
        assert list(make(records).iterate([], text="item {index} of {total}")) == []
        assert records.of("progress") == []

    def test_a_total_can_be_given(self, records):
        list(make(records).iterate([1], total=10))
        assert records.of("progress")[-1] == [10, None]

    def test_begins_with_what_was_done_before(self, records, clock):
        """From that a page tells how much time is left."""
        context = make(records, stored(loops={"": [[60, 100], 60, False]}, begin=["another", 0, 0]))
        loop = context.iterate(range(100))
        next(loop)
        assert checkpoint(records)["begin"] == ["another", 0, 0]
        clock[0] += 1
        next(loop)
        mark, seconds, percent = checkpoint(records)["begin"]
        assert (mark, percent) == ("", 60)
        assert 0 <= seconds < 60

    def test_of_a_second_loop_begins_later(self, records, monkeypatch):
        context = make(records)
        list(context.iterate([1], "a"))
        monkeypatch.setattr(context, "_begun", context._begun - 100)
        list(context.iterate([1], "b"))
        _, seconds, percent = checkpoint(records)["begin"]
        assert (seconds >= 100, percent) == (True, 0)

    def test_that_the_handler_sets_begins_with_its_first_value(self, records):
        context = make(records)
        context.set_progress(30)
        context.set_progress(40)
        context.save_checkpoint(40)
        assert checkpoint(records)["begin"][2] == 30

    def test_checkpoints_are_sent_twice_a_second(self, records, clock):
        for _ in make(records).iterate(range(1000)):
            clock[0] += 0.01
        assert 20 <= len(records.of("checkpoint")) <= 24


class TestItEnds:
    def test_between_two_items_if_that_is_requested(self, records):
        requested = []
        context = make(records, suspend_requested=lambda: bool(requested))
        loop = context.iterate([1, 2, 3])
        requested.append(next(loop))
        with pytest.raises(AttemptSuspended):
            next(loop)
        context.flush()
        assert context.was_suspended
        assert list(resumed(records).iterate([1, 2, 3])) == [2, 3]

    def test_with_its_last_item_even_then(self, records):
        requested = []
        context = make(records, suspend_requested=lambda: bool(requested))
        for item in context.iterate([1]):
            requested.append(item)
        assert not context.was_suspended

    def test_with_an_abort_before_that(self, records):
        context = make(records, suspend_requested=lambda: True, abort_requested=lambda: True)
        with pytest.raises(JobAborted):
            next(context.iterate([1]))


class TestAThrottle:
    @staticmethod
    def answers(*values):
        """A throttle that returns these values, then that the loop may go on."""
        left = list(values)
        return lambda: left.pop(0) if left else None

    @pytest.mark.parametrize("answer", [None, False, 0, 0.0, timedelta(0)])
    def test_may_let_every_item_through(self, records, sleeps, answer):
        assert list(make(records).iterate([1, 2], throttle=lambda: answer)) == [1, 2]
        assert sleeps == []

    @pytest.mark.parametrize(("answer", "seconds"), [(True, 30), (5, 5), (2.5, 2.5), (timedelta(minutes=2), 120)])
    def test_says_how_long_to_wait_before_the_next_item(self, records, sleeps, answer, seconds):
        loop = make(records).iterate([1, 2], throttle=self.answers(0, answer))
        assert next(loop) == 1
        assert sleeps == []
        assert next(loop) == 2
        assert sum(sleeps) == pytest.approx(seconds)

    def test_is_asked_again_after_the_wait(self, records, sleeps):
        assert list(make(records).iterate([1], throttle=self.answers(1, 2, True))) == [1]
        assert sum(sleeps) == pytest.approx(33)

    def test_is_asked_once_before_each_item(self, records, sleeps):
        asked = []
        assert list(make(records).iterate([1, 2, 3], throttle=lambda: asked.append(1))) == [1, 2, 3]
        assert len(asked) == 3

    def test_is_shown_while_it_waits_and_then_the_text_is_as_before(self, records, sleeps):
        context = make(records)
        context.set_progress_text("before")
        list(context.iterate([1], throttle=self.answers(90)))
        texts = [text for _, text in records.of("progress") if text]
        assert texts == ["before", "Throttled: it waits 1 min 30 s, then asks again.", "before"]

    def test_is_shown_even_after_many_updates_of_the_progress(self, records, sleeps):
        context = make(records)
        for number in range(100):
            context.set_progress_text(number)
        next(context.iterate([1], throttle=self.answers(1)))
        assert [0, "Throttled: it waits 1 s, then asks again."] in records.of("progress")

    def test_shows_meanwhile_how_far_the_loop_is(self, records, sleeps):
        loop = make(records).iterate([1, 2, 3, 4], text="item {index}", throttle=self.answers(0, 0, 7))
        next(loop), next(loop), next(loop)
        shown = records.of("progress")
        throttled = next(place for place, (_, text) in enumerate(shown) if (text or "").startswith("Throttled"))
        assert [percent for percent, _ in shown[: throttled + 1] if percent is not None][-1] == 50

    def test_waits_behind_a_checkpoint(self, records, sleeps):
        loop = make(records).iterate([1, 2, 3], throttle=self.answers(0, 0, 7))
        next(loop), next(loop)
        records.clear()
        next(loop)
        assert checkpoint(records)["loops"][""][1] == 2

    def test_waits_no_longer_than_until_the_job_is_aborted(self, records, sleeps):
        context = make(records, abort_requested=lambda: sum(sleeps) > 3)
        with pytest.raises(JobAborted):
            next(context.iterate([1], throttle=lambda: True))
        assert sum(sleeps) < 4

    def test_waits_no_longer_than_until_the_worker_stops_and_no_item_is_left_out(self, records, sleeps):
        context = make(records, suspend_requested=lambda: sum(sleeps) > 3)
        loop = context.iterate([1, 2, 3], throttle=self.answers(0, timedelta(days=1)))
        assert next(loop) == 1
        with pytest.raises(AttemptSuspended):
            next(loop)
        context.flush()
        assert sum(sleeps) < 4
        assert list(resumed(records).iterate([1, 2, 3])) == [2, 3]

    @pytest.mark.parametrize(
        "throttle", [5, "slow", timedelta(seconds=1), pytest.param(AsyncMock(), id="a coroutine function")]
    )
    def test_that_is_no_plain_function_is_refused(self, records, throttle):
        with pytest.raises(TypeError, match="throttle must be a plain function"):
            make(records).iterate([1], throttle=throttle)

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (-1, "must be between 0 seconds and a year, not -1"),
            (timedelta(-1), "must be between 0 seconds and a year"),
            (math.nan, "must be between 0 seconds and a year, not nan"),
            (math.inf, "must be between 0 seconds and a year, not inf"),
            (10**400, "must be between 0 seconds and a year, not 1000"),
            ("5", "must be seconds or a timedelta, not '5'"),
            (Decimal(5), "must be seconds or a timedelta"),
            ([], "must be seconds or a timedelta"),
        ],
    )
    def test_that_returns_no_time_fails(self, records, sleeps, answer, text):
        with pytest.raises(ValueError, match=rf"The throttle of iterate\(\) {text}"):
            next(make(records).iterate([1], throttle=lambda: answer))
        assert sleeps == []

    def test_that_raises_an_exception_is_named(self, records):
        with pytest.raises(RuntimeError, match=r"The throttle of iterate\(\) failed: ZeroDivisionError: div") as failed:
            next(make(records).iterate([1], throttle=lambda: 1 / 0))
        assert isinstance(failed.value.__cause__, ZeroDivisionError)

    def test_may_be_aborted_itself(self, records):
        def throttle():
            raise JobAborted

        with pytest.raises(JobAborted):
            next(make(records).iterate([1], throttle=throttle))


class TestRefused:
    def test_a_loop_inside_a_loop(self, records):
        context = make(records)
        for _ in context.iterate([1], "outer"):
            with pytest.raises(RuntimeError, match="called inside another iterate"):
                next(context.iterate([1], "inner"))

    def test_a_key_twice(self, records):
        context = make(records)
        list(context.iterate([1], "a"))
        with pytest.raises(ValueError, match="twice with the key 'a'"):
            next(context.iterate([1], "a"))

    def test_after_a_loop_was_left_another_one_may_begin(self, records):
        context = make(records)
        for _ in context.iterate([1, 2], "a"):
            break
        assert list(context.iterate([3], "b")) == [3]

    def test_no_rows_at_a_time(self, records):
        with pytest.raises(ValueError, match="chunk must be at least 1"):
            make(records).iterate([1], chunk=0)

    @pytest.mark.parametrize("verb", [lambda c: next(c.iterate([1])), lambda c: c.save_checkpoint(1)])
    def test_a_transaction_that_may_yet_be_rolled_back(self, records, verb):
        with pytest.raises(RuntimeError, match="was called inside a transaction"):
            verb(make(records, in_transaction=lambda: True))
        assert records == []

    def test_a_cursor_that_is_not_json(self, records, clock):
        class Source:
            def after(self, cursor):
                for number in range(9):
                    yield object(), number

        context = make(records)
        loop = context.iterate(Source())
        next(loop)
        clock[0] += 1
        with pytest.raises(TypeError, match="A checkpoint must be JSON"):
            next(loop)
        context.flush()
        assert "The last checkpoint was not kept" in records.of("log")[-1][2]


class TestAMove:
    """Crashes of attempts that got further than the one before are not counted together."""

    def test_is_told_once_behind_the_first_checkpoint_with_an_item_that_is_done(self, records, clock):
        loop = make(records).iterate(range(9))
        for _ in range(2):
            assert records.of("moved") == []
            next(loop)
        for _ in range(5):
            clock[0] += 1
            next(loop)
        kinds = [record[0] for record in records if record[0] in ("checkpoint", "moved")]
        assert kinds[:3] == ["checkpoint", "checkpoint", "moved"]
        assert kinds.count("moved") == 1

    def test_is_not_told_by_an_attempt_that_fails_with_its_first_item(self, records, clock):
        for _ in make(records).iterate(range(9)):
            clock[0] += 1
            break
        assert records.of("moved") == []

    def test_is_not_told_where_there_is_no_item_any_more(self, records):
        context = make(records, stored(loops={"": [[2, 2], 2, True]}))
        assert list(context.iterate([1, 2])) == []
        context.flush()
        assert records.of("moved") == []

    def test_is_not_told_where_items_of_the_same_place_are_done_again(self, records, clock):
        class Page:
            """One page, which is fetched again as long as its last item is not done."""

            def after(self, cursor):
                yield from ((2 if number == 9 else 1, number) for number in range(10))

        loop = make(records, stored(loops={"": [1, 4, False]})).iterate(Page())
        for _ in range(9):
            clock[0] += 1
            next(loop)
        assert checkpoint(records)["loops"][""] == [1, 12, False]
        assert records.of("moved") == []
        for _ in loop:
            clock[0] += 1
        assert records.of("moved") == [[]]

    @pytest.mark.parametrize(("saved", "told"), [(3, [[]]), (2, [])])
    def test_is_told_of_another_checkpoint_of_the_handler_only(self, records, saved, told):
        make(records, stored(own=2)).save_checkpoint(saved)
        assert records.of("moved") == told


class TestTheHandlersOwnCheckpoint:
    @pytest.mark.parametrize("value", [None, 0, "", [1, {"a": [None, True]}], {"page": "x" * 1000}])
    def test_is_there_in_the_next_attempt(self, records, value):
        context = make(records)
        assert context.checkpoint is None
        context.save_checkpoint(value)
        assert context.checkpoint == value
        assert resumed(records).checkpoint == value

    def test_cannot_be_changed_by_changing_what_was_returned(self, records):
        context = make(records)
        context.save_checkpoint([1])
        context.checkpoint.append(2)
        assert context.checkpoint == [1]

    def test_stays_beside_the_position_of_a_loop(self, records):
        context = make(records)
        for item in context.iterate([1, 2, 3]):
            context.save_checkpoint({"last": item})
            if item == 2:
                break
        context.flush()
        context = resumed(records)
        assert list(context.iterate([1, 2, 3])) == [2, 3]
        assert context.checkpoint == {"last": 2}

    @pytest.mark.parametrize(
        ("value", "error", "text"),
        [
            (object(), TypeError, "must be JSON: Object of type object"),
            (math.nan, TypeError, "must be JSON: Out of range float"),
            ("x" * 20_000, ValueError, "takes 20002 characters of JSON, and 16384 are kept"),
            ("x" * 16_384, ValueError, "and 16384 are kept"),
        ],
    )
    def test_that_cannot_be_kept_is_refused_and_the_one_before_stays(self, records, value, error, text):
        context = make(records)
        context.save_checkpoint("before")
        with pytest.raises(error, match=text):
            context.save_checkpoint(value)
        assert context.checkpoint == "before"
        context.save_checkpoint("after")
        assert checkpoint(records)["own"] == "after"

    def test_with_a_secret_argument_is_refused(self, records):
        context = make(records, mask=Mask(["s3cret-password"]))
        with pytest.raises(ValueError, match="contains a secret argument"):
            context.save_checkpoint({"login": "s3cret-password"})
        assert records == []
        assert context.checkpoint is None

    def test_with_a_secret_argument_in_the_place_of_a_loop_is_refused(self, records, clock):
        class Pages:
            def after(self, cursor):
                for page in range(3):
                    clock[0] += 1
                    yield {"key": "s3cret-password", "page": page}, page

        with pytest.raises(ValueError, match="contains a secret argument"):
            list(make(records, mask=Mask(["s3cret-password"])).iterate(Pages()))
        assert "s3cret" not in str(records)

    @pytest.mark.parametrize("value", [1234, {"pins": [1234]}])
    def test_with_a_secret_number_is_refused(self, records, value):
        with pytest.raises(ValueError, match="contains a secret argument"):
            make(records, mask=Mask(["1234"])).save_checkpoint(value)
        assert records == []

    @pytest.mark.parametrize("secret", ["100", "own", "loops", "rows"])
    def test_its_own_counts_and_names_are_no_secrets(self, records, secret):
        context = make(records, mask=Mask([secret]))
        for number in context.iterate(range(100)):
            context.add_results_row(number)
        context.save_checkpoint("after")
        kept = checkpoint(records)
        assert (kept["loops"], kept["own"], kept["rows"]) == ({"": [[100, 100], 100, True]}, "after", [100, 0])

    def test_of_a_job_with_secrets_may_have_any_other_values(self, records):
        context = make(records, mask=Mask(["s3cret-password"]))
        context.save_checkpoint({"ü": ["😀", 1.5, None]})
        assert checkpoint(records)["own"] == {"ü": ["😀", 1.5, None]}


def test_a_loop_costs_little_for_each_item(records):
    """Counted in calls of functions, which do not depend on the machine."""
    import sys

    calls = []
    loop = make(records).iterate(range(1000))
    next(loop)
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    for _ in loop:
        pass
    sys.setprofile(None)
    assert sum(event in ("call", "c_call") for event in calls) / 1000 <= 8


@pytest.fixture
def declare():
    """``declare(function, **options)``: a job type that is gone after the test."""
    before = dict(registry._types)
    yield lambda function, **options: job(name=f"test.{function.__name__}", **options)(function)
    registry._types.clear()
    registry._types.update(before)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_for_one_item_is_allowed_and_one_around_the_loop_is_not(declare):
    def around(context: JobContext) -> None:
        with transaction.atomic():
            for _ in context.iterate([1]):
                pass

    def inside(context: JobContext) -> None:
        for _ in context.iterate([1, 2]):
            with transaction.atomic():
                context.add_log("done")

    def whole(context: JobContext) -> None:
        for _ in context.iterate([1]):
            pass

    assert run_job(declare(inside)).log == ["done", "done"]
    for refused in (declare(around), declare(whole, atomic=True)):
        run = run_job(refused)
        assert run.status == "exception"
        assert "iterate() was called inside a transaction" in run.error


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("atomic", [False, "chunk"])
def test_rows_are_loaded_anew_after_a_wait(declare, sleeps, atomic):
    """What another process has changed meanwhile is not overwritten by what was loaded before the wait."""
    Shop.objects.bulk_create(Shop(name=name) for name in "abcd")
    asked = []

    def throttle():
        asked.append(1)
        if len(asked) != 2:
            return 0
        Shop.objects.filter(name="b").delete()
        Shop.objects.filter(name="c").update(name="C")
        return 60

    def names(context: JobContext) -> list[str]:
        return [shop.name for shop in context.iterate(Shop.objects, chunk=1 if atomic else 500, throttle=throttle)]

    assert run_job(declare(names, atomic=atomic)).result == ["a", "C", "d"]
    assert sum(sleeps) == pytest.approx(60)


@pytest.mark.django_db(transaction=True)
def test_a_throttle_waits_between_two_transactions(declare, sleeps):
    Shop.objects.bulk_create(Shop(name=name) for name in "abcd")
    open_then = []

    def throttle():
        open_then.append(connection.in_atomic_block)
        return 1 if len(open_then) % 2 else 0

    def mark(context: JobContext) -> None:
        for _ in context.iterate(Shop.objects, chunk=2, throttle=throttle):
            assert connection.in_atomic_block

    assert run_job(declare(mark, atomic="chunk")).status == "done"
    assert open_then == [False] * 6
    assert sum(sleeps) == pytest.approx(3)


@pytest.mark.django_db(transaction=True)
class TestATransactionForSomeItems:
    @pytest.fixture
    def names(self):
        """The names of six shops, each of which a job marks with a letter."""
        Shop.objects.bulk_create(Shop(name=name) for name in "abcdef")
        return lambda: list(Shop.objects.order_by("pk").values_list("name", flat=True))

    @pytest.fixture
    def mark(self, declare):
        """``mark(after)``: a job type that marks shops by twos, and calls *after* with each that is marked."""

        def mark(after):
            def mark_shops(context: JobContext) -> object:
                for shop in context.iterate(Shop.objects, chunk=2):
                    shop.name += "!"
                    shop.save()
                    if after(context, shop):
                        break
                return context.checkpoint

            return declare(mark_shops, atomic="chunk", max_attempts=9)

        return mark

    def test_is_rolled_back_with_the_item_that_fails_and_done_again(self, names, mark):
        failed = []

        def after(context, shop):
            if shop.name == "d!" and not failed:
                failed.append(shop)
                raise ZeroDivisionError

        first = run_job(mark(after))
        assert first.status == "scheduled"
        assert names() == ["a!", "b!", "c", "d", "e", "f"]
        assert run_job(first.job).status == "done"
        assert names() == ["a!", "b!", "c!", "d!", "e!", "f!"]

    def test_is_rolled_back_where_the_handler_catches_the_error_and_goes_on(self, names, declare):
        def careless(context: JobContext) -> None:
            try:
                for shop in context.iterate(Shop.objects, chunk=2):
                    shop.name += "!"
                    shop.save()
                    if shop.name == "c!":
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass

        run = run_job(declare(careless, atomic="chunk"))
        assert run.status == "done"
        assert names() == ["a!", "b!", "c", "d", "e", "f"]

    def test_is_rolled_back_by_break_which_the_log_says(self, names, mark):
        run = run_job(mark(lambda context, shop: shop.name == "c!"))
        assert run.status == "done"
        assert run.log == [module.ROLLED_BACK % 1]
        assert names() == ["a!", "b!", "c", "d", "e", "f"]

    def test_keeps_what_the_handler_saves_with_its_items(self, names, mark):
        def after(context, shop):
            context.save_checkpoint(shop.name)
            if shop.name == "d!":
                raise ZeroDivisionError

        first = run_job(mark(after))
        second = run_job(first.job)
        assert json.loads(second.job.checkpoint)["own"] == "b!"

    def test_that_is_committed_without_an_answer_is_not_undone_by_a_later_checkpoint(self, names, declare, monkeypatch):
        commit, lost = BaseDatabaseWrapper.commit, []

        def commit_and_lose(self):
            commit(self)
            if lost:
                lost.clear()
                raise OperationalError("The server has closed the connection.")

        monkeypatch.setattr(BaseDatabaseWrapper, "commit", commit_and_lose)

        def careful(context: JobContext) -> None:
            try:
                for shop in context.iterate(Shop.objects, chunk=2):
                    shop.name += "!"
                    shop.save()
                    if shop.name == "d!":
                        lost.append(shop)
            except OperationalError:
                context.save_checkpoint("failed")
                raise

        first = run_job(declare(careful, atomic="chunk", max_attempts=9))
        assert (first.status, names()) == ("scheduled", ["a!", "b!", "c!", "d!", "e", "f"])
        assert json.loads(first.job.checkpoint)["own"] == "failed"
        assert run_job(first.job).status == "done"
        assert names() == ["a!", "b!", "c!", "d!", "e!", "f!"]

    def test_does_not_last_much_longer_than_a_second(self, names, mark, clock):
        def after(context, shop):
            clock[0] += 2
            if shop.name == "b!":
                raise ZeroDivisionError

        run_job(mark(after))
        assert names()[:2] == ["a!", "b"]

    @pytest.mark.only_on("postgresql", "mysql")  # SQLite has one writer at a time
    def test_is_rolled_back_if_another_attempt_has_the_job(self, names, mark):
        def after(context, shop):
            if shop.name == "c!":
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(self.take, context.job_id).result()

        run_job(mark(after))
        assert names() == ["a!", "b!", "c", "d", "e", "f"]

    @pytest.mark.only_on("postgresql", "mysql")
    def test_is_committed_at_each_isolation_level_although_the_worker_writes_meanwhile(self, isolation, names, mark):
        def after(context, shop):
            with ThreadPoolExecutor(1) as thread:
                thread.submit(self.renew, context.job_id).result()

        assert run_job(mark(after)).status == "done"
        assert names() == ["a!", "b!", "c!", "d!", "e!", "f!"]

    @pytest.mark.only_on("postgresql")
    def test_begins_again_if_the_worker_writes_at_this_very_moment(self, isolation, names):
        row = make_job("running")
        checkpoints = CommittedCheckpoints(Work(row.pk, row.name, "{}", 1, 1, row.attempt_token), lambda record: None)
        with somebody_else() as other, ThreadPoolExecutor(1) as thread:
            other.execute("UPDATE qorworker_job SET progress = 7 WHERE id = %s", [row.pk])
            begun = thread.submit(self.kept, checkpoints)
            wait_until(lambda: self.waits_for_lock(other) or begun.done())
            other.db.commit()
            begun.result(30)
        row.refresh_from_db()
        assert (row.progress, row.checkpoint) == (7, "kept")

    @pytest.mark.only_on("postgresql", "mysql")  # how SQLite's writers wait is tested with processes
    @pytest.mark.parametrize("verb", [lambda jobs: jobs.get().abort(), lambda jobs: jobs.abort()])
    def test_lets_an_abort_through_at_each_isolation_level(self, isolation, declare, verb):
        begun = threading.Event()

        def slow(context: JobContext) -> None:
            for _ in context.iterate(range(20_000), chunk=20):
                begun.set()
                time.sleep(0.001)

        job = declare(slow, atomic="chunk").enqueue()
        with ThreadPoolExecutor(1) as thread:
            aborted = thread.submit(self.abort, verb, job.pk, begun)
            assert run_job(job).status == "killed"
            aborted.result()

    @staticmethod
    def abort(verb, pk, begun):
        try:
            assert begun.wait(30)
            verb(Job.objects.filter(pk=pk))
        finally:
            connection.close()

    @staticmethod
    def kept(checkpoints):
        try:
            with checkpoints.transaction():
                Shop.objects.count()
                checkpoints.keep("kept")
        finally:
            connection.close()

    @staticmethod
    def waits_for_lock(other):
        other.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
        return other.fetchone() is not None

    @staticmethod
    def renew(pk):
        try:
            Job.objects.renew({pk: Job.objects.values_list("attempt_token", flat=True).get(pk=pk)}, 20.0)
        finally:
            connection.close()

    @staticmethod
    def take(pk):
        try:
            Job.objects.filter(pk=pk).update(attempt_token="another")
        finally:
            connection.close()
