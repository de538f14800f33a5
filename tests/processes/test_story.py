"""What a job says while it runs: log, progress, results; what is kept of it, and what is masked."""

import logging
import time

import pytest
from django.db import connection

from qorworker.models import Job, LogLine
from tests.support import ended, log_of, wait_until
from tests.testapp import jobs

pytestmark = pytest.mark.process
SECRET = "correct horse battery"
MASK = "••••••"


def test_every_way_to_say_something_lands_in_the_log_in_order(worker):
    job = ended(jobs.story.enqueue())
    lines = list(job.log.order_by("number"))
    lines_of_handler = [(line.text, line.level) for line in lines if line.text != "from a subprocess"]
    assert lines_of_handler == [
        ("by the context", logging.INFO),
        ("printed", logging.INFO),
        ("to stderr", logging.WARNING),
        ("logged", logging.WARNING),
        ("by its logger", logging.INFO),
    ]
    assert ("from a subprocess", logging.INFO) in [(line.text, line.level) for line in lines]
    assert [line.number for line in lines] == list(range(1, 7))
    assert {line.attempt for line in lines} == {1}
    assert all(job.started_at <= line.at <= job.finished_at for line in lines if line.text != "from a subprocess")


def test_a_finished_job_is_at_100_and_keeps_its_text_and_results(worker):
    job = ended(jobs.story.enqueue())
    assert (job.status, job.progress, job.progress_text) == ("done", 100, "three of four")
    assert [row.cells for row in job.results.all()] == [
        [{"value": "A-1", "error": ""}, {"value": 5, "error": ""}, {"value": "", "error": ""}]
    ]
    assert (job.log_lines, job.log_dropped, job.results_rows, job.results_errors) == (6, 0, 1, 0)


@pytest.mark.parametrize(("done", "shown"), [(250, 100), (-1, 0), (1e300, 100), (33.9, 33)])
def test_progress_is_clamped_and_kept_when_a_job_fails(worker, done, shown):
    job = ended(jobs.clamped.enqueue(done=done))
    assert (job.status, job.progress) == ("exception", shown)


def test_progress_moves_while_the_job_runs(worker, tmp_path):
    job = jobs.progress_until.enqueue(gate=str(tmp_path / "gate"))
    seen = set()

    def moved():
        job.refresh_from_db()
        seen.add(job.progress)
        return len(seen) > 3

    wait_until(moved)
    (tmp_path / "gate").touch()
    assert ended(job).status == "done"


def test_ten_thousand_signs_of_progress_are_few_writes_and_end_at_the_last(worker):
    job = ended(jobs.progress_flood.enqueue(count=10_000))
    assert (job.status, job.progress, job.progress_text) == ("done", 100, "number 10000")


def test_every_attempt_adds_to_the_story_of_the_job(worker):
    job = ended(jobs.tells_of_attempts.enqueue())
    job.retry()
    job = ended(job)
    assert (job.status, job.attempt, job.max_attempts) == ("exception", 2, 1)
    assert [(line.number, line.attempt, line.text) for line in job.log.order_by("number")] == [
        (1, 1, "in attempt 1"),
        (2, 2, "in attempt 2"),
    ]
    assert [(row.number, row.attempt) for row in job.results.order_by("number")] == [(1, 1), (2, 2)]
    assert [attempt.error for attempt in job.attempts.order_by("number")] == [
        "ValueError: attempt 1",
        "ValueError: attempt 2",
    ]
    assert (job.progress, job.error) == (50, "ValueError: attempt 2")


def test_text_that_no_database_stores_is_shown_readably(worker):
    job = ended(jobs.odd_text.enqueue())
    assert job.status == "exception"
    assert log_of(job) == ["nul ␀ here", "surrogate \\ud800 here", "printed \\ud800"]
    assert job.progress_text == "text ␀ \\udfff"
    assert job.error == "ValueError: error ␀ \\udc80"
    [row] = job.results.all()
    assert row.cells[:3] == [
        {"value": "cell ␀", "error": ""},
        {"value": "\\ud800", "error": "error ␀"},
        {"value": "nan", "error": ""},
    ]
    assert "\0" not in row.cells[3]["value"]


def test_bytes_that_are_no_text_do_not_stop_the_log(worker):
    job = ended(jobs.raw_output.enqueue(text=b"\xff\xfe broken \xc3\x28\nnul \x00\n\x1b[31mred\x1b[0m\n".hex()))
    assert job.status == "done"
    assert log_of(job) == ["\\xff\\xfe broken \\xc3(", "nul ␀", "\x1b[31mred\x1b[0m"]


def test_output_without_an_end_of_line_is_not_lost(worker):
    job = ended(jobs.raw_output.enqueue(text=b"no end".hex()))
    assert log_of(job) == ["no end"]


def test_output_of_one_job_is_never_in_the_log_of_another(worker):
    many = [jobs.raw_output.enqueue(text=f"job {number} ".encode().hex(), times=50) for number in range(20)]
    for number, job in enumerate(many):
        assert "".join(log_of(ended(job))) == f"job {number} " * 50


@pytest.mark.parametrize("length", [8 * 1024, 8 * 1024 + 1, 5_000_000])
def test_a_long_line_is_cut(worker, length):
    job = ended(jobs.long_line.enqueue(length=length))
    assert job.status == "done"
    lines = log_of(job)
    assert all(len(line) <= 8 * 1024 for line in lines)
    assert lines[0] == ("x" * length if length <= 8 * 1024 else "x" * (8 * 1024 - 1) + "…")


def test_a_flood_of_lines_is_kept_to_the_last_and_the_worker_lives(worker):
    job = ended(jobs.flood.enqueue(lines=20_000), 60)
    assert (job.status, job.log_lines, job.log_dropped) == ("done", 20_000, 0)
    numbers = LogLine.objects.filter(job=job).order_by("number").values_list("number", "text")
    assert [(number, text) for number, text in numbers] == [
        (number, f"line {number - 1}") for number in range(1, 20_001)
    ]


def test_a_hundred_megabytes_of_output_do_not_stop_the_worker(worker):
    begun = time.monotonic()
    job = jobs.raw_output.enqueue(text=((b"0123456789abcde" * 68 + b"\n") * 64).hex(), times=1600)
    assert ended(jobs.noop.enqueue()).status == "done"
    job = ended(job, 120)
    print(f"100 MB of output: {time.monotonic() - begun:.1f} s")
    assert (job.status, job.log_lines + job.log_dropped) == ("done", 64 * 1600)
    assert job.log_bytes <= 10 * 1024 * 1024 + 1021


class TestSecrets:
    @pytest.mark.parametrize(
        "how",
        [
            "log",
            "print",
            "stderr",
            "logging",
            "progress",
            "results",
            "subprocess",
            "descriptor",
            "representation",
            "long lines",
        ],
    )
    def test_a_secret_is_stored_nowhere(self, worker, how):
        job = ended(jobs.keeps_secrets_badly.enqueue(password=SECRET, how=how))
        assert (job.status, job.error) == ("exception", f"ValueError: refused: {MASK}")
        [attempt] = job.attempts.all()
        assert MASK in attempt.traceback
        assert not [word for word in SECRET.split() if word in dump()]
        texts = [*log_of(job), job.progress_text, *(str(row.cells) for row in job.results.all())]
        assert MASK in "".join(texts)
        assert SECRET not in worker.said

    def test_a_secret_is_encrypted_where_it_waits(self, worker):
        job = ended(jobs.secretive.enqueue(password=SECRET))
        assert SECRET not in str(Job.objects.values("arguments").get(pk=job.pk))
        assert job.arguments["password"] != MASK

    def test_a_secret_is_in_no_command_line_and_no_environment(self, worker, ledger):
        jobs.keeps_secrets_badly.enqueue(password=SECRET, how="subprocess")
        ended(Job.objects.get())
        for pid in worker.census():
            with open(f"/proc/{pid}/cmdline") as line, open(f"/proc/{pid}/environ") as environment:
                assert SECRET not in line.read()
                assert SECRET not in environment.read()

    def test_the_next_job_may_say_what_was_the_secret_of_another(self, worker):
        ended(jobs.secretive.enqueue(password="no such luck"))
        assert ended(jobs.fail.enqueue()).error == "ValueError: no such luck"

    def test_a_thread_that_goes_on_does_not_say_it_in_the_next_job(self, worker, tmp_path):
        gate = str(tmp_path / "gate")
        ended(jobs.leaves_work_in_a_pool.enqueue(password=SECRET, gate=gate))
        assert ended(jobs.opens_the_gate.enqueue(gate=gate)).status == "done"
        assert SECRET not in dump()
        assert SECRET not in worker.said


def dump():
    """Everything in the tables of qorworker."""
    texts = []
    with connection.cursor() as cursor:
        for table in ("job", "attempt", "logline", "resultsrow", "auditentry", "worker"):
            cursor.execute(f"SELECT * FROM qorworker_{table}")
            texts += map(str, cursor.fetchall())
    return "\n".join(texts)
