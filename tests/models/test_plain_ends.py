"""An attempt that ends plainly leaves the same rows as one that ends with all values given."""

import pytest

from qorworker.models import Attempt
from qorworker.models.sql import AttemptNote, PlainEnd, exchange, plain_ends
from tests.models.rows import columns, leaving, make_job, somebody_else, token, wanted

PEAK = 3 * 2**31  # bytes: more than an integer of 32 bits


def plain(job, **changes):
    given = {"id": job.pk, "token": job.attempt_token, "number": job.attempt, "process_id": 4711, "duration": 2.5}
    given |= {"peak_memory": PEAK, "worker_id": 1, "worker_name": "höst:1"}
    return PlainEnd(**(given | changes))


def note(job):
    return AttemptNote(job_id=job.pk, number=job.attempt, worker_id=1, worker_name="höst:1", process_id=4711,
                       outcome="done", started_at=-2.5, peak_memory=PEAK)  # fmt: skip


def status(job):
    return columns(job)["status"]


STORY = {"log_lines": 3, "log_bytes": 99, "log_dropped": 1, "results_rows": 2, "results_errors": 1}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"unique_place": 5, "unique_among": "waiting"},
        {"unique_place": 5, "unique_among": "period"},
        {"progress": 40, "progress_text": "half", "crashes": 2, "error": "before", **STORY},
        {"attempt": 3, "max_attempts": 5},
    ],
    ids=["first", "unique", "unique-for-a-period", "after-lost-attempts", "third"],
)
def test_it_leaves_the_same_rows_as_an_end_with_all_values(fields):
    kept = {name: fields.get(name, 0) for name in STORY}
    full = make_job("running", **fields)
    exchange("default", [leaving(full, "done", process_id=4711, **kept)], [note(full)])
    expected, noted = columns(full), Attempt.objects.values().get()
    full.delete()
    Attempt.objects.all().delete()
    job = make_job("running", **fields)
    result = exchange("default", (), plain=[plain(job)])
    assert (result.ours, result.busy) == ({job.pk}, set())
    row, attempt = columns(job), Attempt.objects.values().get()
    its_own = {"id", "job_id", "token", "attempt_token"}
    for mine, other in ((row, expected), (attempt, noted)):
        assert mine.keys() == other.keys()
        times = {name for name in mine if name.endswith(("_at", "_after"))}
        assert {name: bool(mine[name]) for name in times} == {name: bool(other[name]) for name in times}
        rest = mine.keys() - times - its_own
        assert {name: mine[name] for name in rest} == {name: other[name] for name in rest}
    assert row["attempt_token"] is None
    assert 2.49 < (attempt["finished_at"] - attempt["started_at"]).total_seconds() < 2.51


@pytest.mark.django_db
def test_it_goes_together_with_other_ends_and_a_claim():
    plainly, failed, lost, waiting = make_job("running"), make_job("running"), make_job("running"), make_job()
    ends = [plain(lost, token=token()), plain(plainly, process_id=None, peak_memory=None)]
    result = exchange("default", [leaving(failed, "exception", error="x")], [note(failed)], wanted(), ends)
    assert (result.ours, result.busy) == ({plainly.pk, failed.pk}, set())
    assert [job.id for job in result.claimed] == [waiting.pk]
    assert [status(job) for job in (plainly, failed, lost, waiting)] == ["done", "exception", "running", "running"]
    assert sorted(Attempt.objects.values_list("job_id", flat=True)) == [plainly.pk, failed.pk]


@pytest.mark.django_db
def test_more_than_one_statement_takes_are_all_written(monkeypatch):
    monkeypatch.setattr(plain_ends, "BATCH", 2)
    jobs, waiting = [make_job("running") for _ in range(5)], make_job()
    result = exchange("default", (), (), wanted(), [plain(job) for job in jobs])
    assert result.ours == {job.pk for job in jobs}
    assert [job.id for job in result.claimed] == [waiting.pk]
    assert Attempt.objects.count() == 5


@pytest.mark.django_db
def test_a_second_write_after_a_lost_answer_changes_nothing():
    job = make_job("running")
    exchange("default", (), plain=[plain(job)])
    before = columns(job)
    assert exchange("default", (), plain=[plain(job)]).ours == set()
    assert columns(job) == before
    assert Attempt.objects.count() == 1


@pytest.mark.django_db
def test_a_job_cannot_end_in_two_ways_at_once():
    job = make_job("running")
    with pytest.raises(ValueError, match="only once"):
        exchange("default", [leaving(job, "exception")], [note(job)], plain=[plain(job)])
    assert status(job) == "running"


@pytest.mark.only_on("postgresql")
@pytest.mark.django_db
def test_it_is_one_journey(django_assert_num_queries):
    jobs = [make_job("running") for _ in range(700)]
    with django_assert_num_queries(1):
        assert len(exchange("default", (), (), wanted(), [plain(job) for job in jobs]).ours) == 700


@pytest.mark.only_on("postgresql", "mysql")  # SQLite locks the whole database
@pytest.mark.django_db(transaction=True)
def test_an_end_whose_row_is_locked_waits_and_the_others_are_written():
    locked, free = make_job("running"), make_job("running")
    with somebody_else() as cursor:
        cursor.execute("SELECT id FROM qorworker_job WHERE id = %s FOR UPDATE", [locked.pk])
        result = exchange("default", (), plain=[plain(locked), plain(free)])
        assert (result.ours, result.busy) == ({free.pk}, {locked.pk})
    assert exchange("default", (), plain=[plain(locked)]).ours == {locked.pk}
    assert Attempt.objects.count() == 2
