"""What has ended is added up, each job once: whoever does it, and whatever comes late or goes early."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from qorworker.actions import news, pruning, summarising
from qorworker.actions.summarising import summarise, summarise_if_due
from qorworker.exceptions import InvalidTransition
from qorworker.models import Attempt, AuditEntry, Job, Outcome, Summary, SummaryMark, database_now, summary
from qorworker.models.clock import aware
from qorworker.models.histogram import bucket_of, quantile
from qorworker.models.sql import claim, exchange
from qorworker.models.summary import DAY, FINE, HOUR, MOST_ERRORS, OTHERS, QUARTER, SPANS
from tests.models.rows import ended, leaving, make_job, race, somebody_else, wanted

pytestmark = pytest.mark.django_db

SECOND = dt.timedelta(seconds=1)


@pytest.fixture
def now():
    return database_now("default")


def sums(seconds=DAY, **rule):
    """What the rows of spans of this length say together."""
    total = Counter()
    for row in Summary.objects.filter(seconds=seconds, **rule):
        total += row.sums.ends
    return dict(total)


def errors():
    return dict(sum((row.sums.errors for row in Summary.objects.filter(seconds=DAY)), Counter()))


# What is counted


def test_every_end_counts_once_in_a_span_of_each_length():
    for outcome in (Outcome.DONE, Outcome.DONE, Outcome.FAILED, Outcome.ABORTED):
        ended(outcome)
    make_job("new").cancel()
    summarise("default")
    for seconds in SPANS:
        assert sums(seconds) == {"done": 2, "failed": 1, "aborted": 1, "cancelled": 1}
    summarise("default")
    assert sums() == {"done": 2, "failed": 1, "aborted": 1, "cancelled": 1}


def test_spans_begin_at_whole_hours_and_days_of_utc(now):
    at = aware(now).replace(hour=13, minute=47, second=11, microsecond=0) - dt.timedelta(days=1)
    ended(at=now - (aware(now) - at))
    summarise("default")
    begun = {row.seconds: dt.datetime.fromtimestamp(row.start, dt.UTC) for row in Summary.objects.all()}
    day = at.replace(hour=0, minute=0, second=0)
    assert begun == {HOUR: day.replace(hour=13), QUARTER: day.replace(hour=12), DAY: day}


def test_types_and_queues_are_counted_apart():
    ended(name="app.a")
    ended(name="app.a", queue_name="mail")
    ended(name="app.b")
    summarise("default")
    rows = Summary.objects.filter(seconds=HOUR).values_list("name", "queue_name", "done")
    assert sorted(rows) == [("app.a", "default", 1), ("app.a", "mail", 1), ("app.b", "default", 1)]


def test_waiting_and_run_times_are_in_their_buckets():
    ended(waited=2.0, ran=8.5)
    ended(waited=0.0123, ran=4_000.0)
    summarise("default")
    row = Summary.objects.get(seconds=DAY)
    assert row.sums.waits == {bucket_of(2.001): 1, bucket_of(0.0123): 1}
    assert row.sums.runs == {bucket_of(8.5): 1, bucket_of(4_000.0): 1}
    assert quantile(row.sums.runs, 0.95) == pytest.approx(4_000, rel=0.2)


@pytest.mark.parametrize(
    ("outcome", "error", "named"),
    [
        (Outcome.FAILED, "builtins.KeyError", "builtins.KeyError"),
        (Outcome.TIMEOUT, "", "timeout"),
        (Outcome.CRASHED, "", "crashed"),
        (Outcome.ROW_ERRORS, "", "row_errors"),
        (Outcome.REFUSED, "", "refused"),
    ],
)
def test_failures_are_counted_by_the_class_of_their_exception_or_their_outcome(outcome, error, named):
    ended(outcome, error=error)
    ended(Outcome.DONE)
    ended(Outcome.ABORTED, error="builtins.SystemExit")
    summarise("default")
    assert errors() == {named: 1}


def test_a_job_that_was_refused_has_no_run_time():
    ended(Outcome.REFUSED)
    summarise("default")
    assert Summary.objects.get(seconds=DAY).sums.runs == {}


def test_very_many_classes_of_exceptions_share_one_number():
    for number in range(MOST_ERRORS + 7):
        ended(Outcome.FAILED, error=f"app.Error{number}")
        summarise("default")
    found = errors()
    assert sum(found.values()) == MOST_ERRORS + 7
    assert len(found) <= MOST_ERRORS + 1
    assert found[OTHERS] >= 7


def test_an_attempt_that_is_followed_by_another_is_no_end():
    job = make_job("scheduled", attempt=1, max_attempts=3)
    ended(Outcome.FAILED, job=job)
    summarise("default")
    assert sums() == {}
    Job.objects.filter(pk=job.pk).update(status="done", attempt=2, finished_at=database_now("default"))
    ended(Outcome.DONE, job=job, number=2)
    summarise("default")
    assert sums() == {"done": 1}


def test_an_attempt_that_was_handed_back_or_suspended_is_no_end():
    for outcome in (Outcome.INTERRUPTED, Outcome.SUSPENDED):
        job = make_job("new", attempt=0)
        at = database_now("default")
        Attempt.objects.create(job=job, number=1, started_at=at, finished_at=at, outcome=outcome, counted=None)
    summarise("default")
    assert sums() == {}


def test_a_failure_counts_even_if_its_job_was_retried_before_it_was_counted():
    job = ended(Outcome.FAILED, error="app.Trouble")
    job.retry()
    summarise("default")
    assert (sums(), errors()) == ({"failed": 1}, {"app.Trouble": 1})


def test_a_job_that_would_have_been_retried_and_was_cancelled_is_cancelled_and_has_not_failed():
    job = make_job("scheduled", attempt=1, max_attempts=3)
    ended(Outcome.FAILED, job=job)
    job.cancel()
    summarise("default")
    assert sums() == {"cancelled": 1}


def test_a_job_whose_approval_was_declined_counts_as_cancelled():
    AuditEntry.objects.record("decline to approve", job=make_job("cancelled"))
    summarise("default")
    assert sums() == {"cancelled": 1}


def test_a_request_to_cancel_that_came_too_late_does_not_count():
    job = make_job("running")
    with pytest.raises(InvalidTransition):
        job.cancel()
    summarise("default")
    assert sums() == {}


def test_what_workers_write_is_what_is_counted():
    make_job("new", name="app.job")
    (claimed,) = claim("default", wanted())
    job = Job.objects.get(pk=claimed.id)
    exchange("default", [leaving(job, "done")])
    Attempt.objects.create(
        job=job, number=1, started_at=job.last_attempted_at, finished_at=database_now("default"), outcome="done"
    )
    summarise("default")
    assert sums() == {"done": 1}


# Exactly once


def test_what_is_added_later_is_added_to_what_is_there():
    ended()
    summarise("default")
    ended()
    ended(Outcome.FAILED)
    summarise("default")
    assert sums() == {"done": 2, "failed": 1}
    assert Summary.objects.filter(seconds=DAY).count() == 1


def test_a_late_end_counts_in_its_own_hour(now):
    summarise("default")
    ended(at=now - dt.timedelta(days=3))
    summarise("default")
    row = Summary.objects.get(seconds=HOUR)
    assert 0 <= (aware(now) - dt.timedelta(days=3)).timestamp() - row.start < 3600


def test_very_many_take_several_rounds(monkeypatch):
    monkeypatch.setattr(summarising, "MOST", 3)
    for _ in range(8):
        ended()
    assert summarise("default", seconds=0) is False
    assert sums() == {"done": 3}
    assert summarise("default") is True
    assert sums() == {"done": 8}


def test_a_round_that_is_quick_is_followed_by_a_larger_one(monkeypatch):
    sizes = []
    next_ids = summarising.sql.next_ids
    monkeypatch.setattr(summarising, "FIRST", 2)
    monkeypatch.setattr(summarising, "QUICK", 60.0)
    monkeypatch.setattr(summarising.sql, "next_ids", lambda *given: sizes.append(given[-1]) or next_ids(*given))
    for _ in range(9):
        ended()
    summarise("default")
    assert sizes[::2] == [2, 4, 8]
    assert sums() == {"done": 9}


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgresql", "mysql")
def test_a_row_whose_transaction_ends_after_that_of_a_later_one_counts_once():
    job = make_job("done")
    with somebody_else() as cursor:
        at = database_now("default")
        columns = "job_id, number, worker_name, started_at, finished_at, outcome, survivors, error, traceback"
        cursor.execute(
            f"INSERT INTO qorworker_attempt ({columns}, exception_class, counted)"
            " VALUES (%s, 1, '', %s, %s, 'done', 0, '', '', '', TRUE)",
            [job.pk, at.isoformat(" ")[:26], at.isoformat(" ")[:26]],
        )
        ended()
        summarise("default")
        assert sums() == {"done": 1}
        cursor.connection.commit()
    for _ in range(2):
        summarise("default")
        assert sums() == {"done": 2}


def test_a_row_that_fills_a_gap_counts_and_the_rest_of_the_gap_is_kept():
    first, second = ended(), ended()
    Attempt.objects.filter(job=second).update(id=-1)
    Attempt.objects.filter(job=first).update(id=1_000_000)
    summarise("default")
    assert [gap[:2] for gap in SummaryMark.current("default").attempt_gaps] == [[1, 999_999]]
    Attempt.objects.filter(job=second).update(id=50)
    summarise("default")
    assert sums() == {"done": 2}
    assert [gap[:2] for gap in SummaryMark.current("default").attempt_gaps] == [[1, 49], [51, 999_999]]


def test_a_gap_is_forgotten_after_a_day(monkeypatch):
    Attempt.objects.filter(job=ended()).update(id=2_000_000)
    summarise("default")
    later = database_now("default") + dt.timedelta(seconds=news.GAPS_KEPT + 1)
    monkeypatch.setattr(news, "database_timestamp", lambda using: later.timestamp())
    Attempt.objects.filter(job=ended()).update(id=2_000_001)
    summarise("default")
    assert SummaryMark.current("default").attempt_gaps == []
    assert sums() == {"done": 2}


def test_a_machine_whose_clock_is_wrong_forgets_neither_gaps_nor_sums(monkeypatch):
    Attempt.objects.filter(job=ended()).update(id=2_000_000)
    summarise("default")
    wrong = time.time() + 1e9
    monkeypatch.setattr(time, "time", lambda: wrong)
    later = SimpleNamespace(now=lambda zone: dt.datetime.fromtimestamp(wrong, zone))
    monkeypatch.setattr(summary, "dt", SimpleNamespace(datetime=later, UTC=dt.UTC))
    Attempt.objects.filter(job=ended()).update(id=2_000_001)
    summarise("default")
    assert SummaryMark.current("default").attempt_gaps
    assert sums() == {"done": 2}


@pytest.mark.django_db(transaction=True)
def test_several_at_a_time_count_each_end_once():
    for _ in range(20):
        ended()
    outcomes = race(*[lambda: summarise("default")] * 4)
    assert outcomes == [True] * 4
    assert sums() == {"done": 20}


@pytest.mark.django_db(transaction=True)
def test_who_is_killed_before_the_end_has_counted_nothing(monkeypatch):
    ended()

    def die(rows, additions):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(Summary.objects.all()), "add", die)
        with pytest.raises(KeyboardInterrupt):
            summarise("default")
    assert sums() == {}
    summarise("default")
    assert sums() == {"done": 1}


def test_in_a_transaction_that_is_rolled_back_nothing_was_counted():
    ended()
    with transaction.atomic():
        summarise("default")
        transaction.set_rollback(True)
    summarise("default")
    assert sums() == {"done": 1}


# How often, and for how long


def test_nothing_new_writes_nothing():
    ended()
    summarise("default")
    with CaptureQueriesContext(connection) as captured:
        summarise("default")
    assert len(captured) <= 5  # the mark, the new rows of both tables, and what has come in gaps
    assert all(query["sql"].startswith("SELECT") for query in captured)


def test_a_second_process_does_nothing_for_a_while():
    ended()
    summarise_if_due("default", 5)
    ended()
    with CaptureQueriesContext(connection) as captured:
        summarise_if_due("default", 5)
    assert len(captured) == 1
    SummaryMark.objects.update(at=database_now("default") - dt.timedelta(seconds=summarising.RECENT + 1))
    summarise_if_due("default", 5)
    assert sums() == {"done": 2}


def test_the_number_of_statements_does_not_grow_with_the_number_of_jobs():
    ended()
    summarise("default")

    def cost(jobs):
        for _ in range(jobs):
            ended()
        with CaptureQueriesContext(connection) as captured:
            summarise("default")
        return len(captured)

    assert cost(40) == cost(1)


def test_jobs_are_counted_before_their_time_is_over_and_they_are_deleted(now):
    ended(at=now - dt.timedelta(days=3))
    assert [job.status for job in pruning.prune(Job.objects.all(), lambda job: SECOND, SECOND)] == ["done"]
    assert not Job.objects.exists()
    assert sums() == {"done": 1}


def test_a_look_at_what_would_be_deleted_counts_nothing(now):
    ended(at=now - dt.timedelta(days=3))
    assert list(pruning.prune(Job.objects.all(), lambda job: SECOND, SECOND, dry_run=True))
    assert not Summary.objects.exists()


def test_rows_are_kept_for_as_long_as_the_setting_says(now, settings):
    settings.QORWORKER = {**settings.QORWORKER, "SUMMARY_DAYS": 2}
    ended(at=now - dt.timedelta(days=4))
    ended(at=now - dt.timedelta(days=1))
    ended()
    summarise("default")
    assert sums(DAY) == sums(HOUR) == {"done": 2}
    assert sums(FINE) == {"done": 1}
